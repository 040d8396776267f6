/**
 * What a caller may do, and what nobody may.
 *
 * Owns the rules of principals (servers and permissions of a token) and of the settings that forbid changes
 * (`read_only_mode`, `disable_management`, `allow_server_add`, `allow_server_remove`). Invariant: every surface asks
 * here, so a rule holds on all of them. Checks in the routes were rejected: MCP and the command line would have others.
 */
import type { Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import type { CallVariant } from "../core/model.ts";
import type { Permission, Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import type { PlanOperation } from "../state/config_plan.ts";

/** The settings that forbid changes. */
export type ManagementSettings = Pick<
  Settings,
  "readOnlyMode" | "disableManagement" | "allowServerAdd" | "allowServerRemove"
>;

/** Whether a principal may know of a server and call its tools. */
export function mayReach(principal: Principal, server: string, groups: Groups): boolean {
  const { servers, groups: named } = principal;
  if (servers === undefined && named === undefined) return true;
  if (servers?.has(server) === true) return true;
  return (
    named !== undefined &&
    groups.groupsOf(server).some(({ id, name }) => named.has(name) || named.has(String(id)))
  );
}

/** @throws {ProxyError} `SCOPE_REFUSED` when the principal's permissions do not cover what a tool does. */
export function assertMayCall(principal: Principal, variant: CallVariant, id: string): void {
  const permission = variant.slice("call_tool_".length) as Permission;
  if (principal.permissions.has(permission)) return;
  throw new ProxyError("SCOPE_REFUSED", `Cannot call '${id}': the token does not permit '${permission}'`, {
    hint: "Ask the operator for a token with that permission",
  });
}

/** @throws {ProxyError} `MANAGEMENT_REFUSED` when the settings forbid changes by any surface. */
export function assertMayManage(settings: ManagementSettings): void {
  const key = settings.disableManagement
    ? "disable_management"
    : settings.readOnlyMode
      ? "read_only_mode"
      : undefined;
  if (key !== undefined) throw refusal("Cannot change anything", key, "false");
}

/** @throws {ProxyError} `MANAGEMENT_REFUSED` when the settings forbid one of the operations. */
export function assertMayChange(operations: readonly PlanOperation[], settings: ManagementSettings): void {
  assertMayManage(settings);
  if (!settings.allowServerAdd && operations.some(({ op }) => op === "add"))
    throw refusal("Cannot add a server", "allow_server_add", "true");
  if (!settings.allowServerRemove && operations.some(({ op }) => op === "remove"))
    throw refusal("Cannot remove a server", "allow_server_remove", "true");
}

function refusal(what: string, key: string, wanted: string): ProxyError {
  return new ProxyError("MANAGEMENT_REFUSED", `${what}: '${key}' forbids it`, {
    hint: `Set '${key}' to ${wanted} in the configuration file`,
  });
}
