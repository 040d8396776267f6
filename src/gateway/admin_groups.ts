/**
 * The management tool `groups`.
 *
 * Owns its menu and its arguments. Invariant: a server that is refused is named in the answer, and the rest is done.
 */
import type { JsonObject, ToolDefinition } from "../core/model.ts";
import { ProxyError } from "../core/errors.ts";
import { optionalText, textIn } from "./admin_tool.ts";
import type { AdminCall, AdminOperation, AdminTool } from "./admin_tool.ts";
import { changeView } from "./change_summary.ts";
import { groupView } from "./steering.ts";
import type { Steering } from "./steering.ts";

const OPERATIONS = ["list", "create", "update", "delete", "assign", "unassign", "enable", "disable"] as const;
/** Keys of a group that are arguments of their own. */
const GROUP_KEYS = ["name", "description", "color", "icon_emoji", "parent"] as const;

const DEFINITION: ToolDefinition = {
  name: "groups",
  description: "Manage groups of servers. enable and disable switch a group's servers, subgroups included.",
  inputSchema: {
    type: "object",
    properties: {
      operation: { type: "string", enum: OPERATIONS },
      group: {
        type: ["string", "integer"],
        description: "Id, name or slug; for all but list and create",
      },
      name: { type: "string", description: "create, update: its name" },
      description: { type: "string" },
      color: { type: "string" },
      icon_emoji: { type: "string" },
      parent: { type: ["string", "integer", "null"], description: "Group it is part of; null for none" },
      servers: { type: "array", items: { type: "string" }, description: "assign, unassign" },
      dry_run: { type: "boolean" },
    },
    required: ["operation"],
    additionalProperties: false,
  },
  annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: false },
};

/** Makes the tool. */
export function groupsTool(steering: Steering): AdminTool {
  const batch = (action: "assign" | "unassign" | "enable" | "disable"): AdminOperation => ({
    needs: ["group"],
    change: "group_change",
    run: ({ args, by }) => {
      const group = groupIn(args, steering);
      const isMembership = action === "assign" || action === "unassign";
      const selection = isMembership ? { names: serversIn(args, action) } : { group };
      return steering.runBatch({ action, selection, group, isDryRun: args["dry_run"] === true }, by);
    },
  });
  return {
    definition: DEFINITION,
    operations: {
      list: {
        run: () => {
          const groups = steering.listGroups();
          const shown = groups.map((group) => ({
            ...groupView(group),
            servers: steering.membersOf(group.id),
          }));
          return { groups: shown, total: groups.length };
        },
      },
      create: { needs: ["name"], change: "group_change", run: (call) => create(call, steering) },
      update: { needs: ["group"], change: "group_change", run: (call) => update(call, steering) },
      delete: {
        needs: ["group"],
        change: "group_change",
        run: async ({ args, by }) => changeView(await steering.deleteGroup(groupIn(args, steering), by)),
      },
      assign: batch("assign"),
      unassign: batch("unassign"),
      enable: batch("enable"),
      disable: batch("disable"),
    },
  };
}

async function create({ args, by }: AdminCall, steering: Steering): Promise<object> {
  const { parent, ...rest } = fieldsIn(args);
  const entry = { ...rest, ...(parent === null || parent === undefined ? {} : { parent }) };
  const made = await steering.createGroup({ ...entry, name: textIn(args, "name") }, by);
  return { ...changeView(made.change), group: groupView(made.group) };
}

async function update({ args, by }: AdminCall, steering: Steering): Promise<object> {
  const patch = fieldsIn(args);
  const made = await steering.updateGroup(groupIn(args, steering), { patch, by });
  return { ...changeView(made.change), group: groupView(made.group) };
}

function fieldsIn(args: JsonObject): JsonObject {
  return Object.fromEntries(
    GROUP_KEYS.flatMap((key) => (args[key] === undefined ? [] : [[key, args[key]] as const])),
  );
}

/** By its id, so that a name that is another one's number means the same throughout. */
function groupIn(args: JsonObject, steering: Steering): number {
  const { group } = args;
  return steering.getGroup(typeof group === "number" ? group : (optionalText(args, "group") ?? "")).id;
}

function serversIn({ servers }: JsonObject, action: string): readonly string[] {
  if (Array.isArray(servers) && servers.length > 0) return servers as readonly string[];
  throw new ProxyError("ARGUMENTS_INVALID", `Cannot ${action}: 'servers' is missing`, {
    hint: 'Name them as servers: ["name"]',
  });
}
