/**
 * What a caller may do, and what nobody may.
 *
 * Owns the rules of principals (servers and permissions of a token) and of the settings that forbid changes
 * (`read_only_mode`, `disable_management`, `allow_server_add`, `allow_server_remove`). Invariant: every surface asks
 * here, so a rule holds on all of them. Checks in the routes were rejected: MCP and the command line would have others.
 */
import type { Group, Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import type { CallVariant } from "../core/model.ts";
import type { Permission, Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import type { PlanOperation } from "../state/config_plan.ts";

const PERMISSION_OF: Readonly<Record<CallVariant, Permission>> = {
  call_tool_read: "read",
  call_tool_write: "write",
  call_tool_destructive: "destructive",
};

/** The settings that forbid changes. */
export type ManagementSettings = Pick<
  Settings,
  "readOnlyMode" | "disableManagement" | "allowServerAdd" | "allowServerRemove"
>;

/** What the groups of a token hold, worked out once for each revision of the configuration. */
const memberships = new WeakMap<
  Principal,
  { readonly groups: Groups; readonly members: ReadonlySet<string> }
>();

/** Whether a principal may know of a server and call its tools. */
export function mayReach(principal: Principal, server: string, groups: Groups): boolean {
  if (!isScoped(principal)) return true;
  return principal.servers?.has(server) === true || membersOf(principal, groups).has(server);
}

/** Whether there are servers a principal may not reach. */
export function isScoped({ servers, groups }: Principal): boolean {
  return servers !== undefined || groups !== undefined;
}

/**
 * A group by id, name or slug. One without a server the principal may know of is none for it, nor are others named.
 *
 * @throws {ProxyError} `GROUP_UNKNOWN`
 */
export function groupFor(
  group: string | number,
  { groups, principal }: { readonly groups: Groups; readonly principal: Principal | undefined },
): Group {
  if (principal === undefined || !isScoped(principal)) return groups.get(group);
  const found = groups.find(group);
  const members = found === undefined ? [] : groups.members(found.id);
  if (found !== undefined && members.some((name) => mayReach(principal, name, groups))) return found;
  throw new ProxyError("GROUP_UNKNOWN", `Cannot find a group named '${group}'`, { data: { group } });
}

function membersOf(principal: Principal, groups: Groups): ReadonlySet<string> {
  const known = memberships.get(principal);
  if (known?.groups === groups) return known.members;
  // Digits mean an id: a group that has them as its name is another one.
  const words = [...(principal.groups ?? [])].map((word) => (/^\d+$/.test(word) ? Number(word) : word));
  const members = new Set(words.flatMap((word) => groups.members(word)));
  memberships.set(principal, { groups, members });
  return members;
}

/** Whether a principal's permissions cover what a meta tool does. */
export function mayCall(principal: Principal, variant: CallVariant): boolean {
  return principal.permissions.has(PERMISSION_OF[variant]);
}

/** @throws {ProxyError} `SCOPE_REFUSED` when the principal's permissions do not cover what a tool does. */
export function assertMayCall(principal: Principal, variant: CallVariant, id: string): void {
  const permission = PERMISSION_OF[variant];
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
  for (const operation of operations) {
    if (operation.op === "add") assertAllowed(settings, "allow_server_add");
    else if (operation.op === "remove") assertAllowed(settings, "allow_server_remove");
    else if (operation.op === "settings") {
      const { allow_server_add: add = false, allow_server_remove: remove = false } = operation.patch;
      if (add !== false) assertAllowed(settings, "allow_server_add");
      if (remove !== false) assertAllowed(settings, "allow_server_remove");
    }
  }
}

/**
 * The same for a whole configuration in the place of another.
 *
 * @throws {ProxyError} `MANAGEMENT_REFUSED`
 */
export function assertMayReplace(
  settings: ManagementSettings,
  by: {
    readonly difference: { readonly added: readonly unknown[]; readonly removed: readonly unknown[] };
    readonly settings: ManagementSettings;
  },
): void {
  assertMayManage(settings);
  const { added, removed } = by.difference;
  if (added.length > 0 || by.settings.allowServerAdd) assertAllowed(settings, "allow_server_add");
  if (removed.length > 0 || by.settings.allowServerRemove) assertAllowed(settings, "allow_server_remove");
}

const FORBIDDEN = {
  allow_server_add: "Cannot add a server, nor allow it",
  allow_server_remove: "Cannot remove a server, nor allow it",
} as const;

/** What a setting forbids cannot be had by changing the setting first, but in the file. */
function assertAllowed(settings: ManagementSettings, key: keyof typeof FORBIDDEN): void {
  const isAllowed = key === "allow_server_add" ? settings.allowServerAdd : settings.allowServerRemove;
  if (!isAllowed) throw refusal(FORBIDDEN[key], key, "true");
}

function refusal(what: string, key: string, wanted: string): ProxyError {
  return new ProxyError("MANAGEMENT_REFUSED", `${what}: '${key}' forbids it`, {
    hint: `Set '${key}' to ${wanted} in the configuration file`,
  });
}
