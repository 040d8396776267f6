/**
 * The management tool `quarantine_security`.
 *
 * Owns its menu: who is held, what those servers claimed to offer, and holding one more. Invariants: nothing is started
 * to be looked at; nothing leaves quarantine here; a held server's words are marked as such. Letting a model approve was
 * rejected: the words it would judge by are those of the server it judges.
 */
import type { ToolDefinition } from "../core/model.ts";
import { pageView } from "./admin_servers.ts";
import { optionalNumber, optionalText, textIn, UNTRUSTED } from "./admin_tool.ts";
import type { AdminTool } from "./admin_tool.ts";
import { changeView } from "./change_summary.ts";
import type { Steering } from "./steering.ts";

const DEFAULT_PAGE = 25;
const MAX_PAGE = 200;

const DEFINITION: ToolDefinition = {
  name: "quarantine_security",
  description:
    "See which servers are quarantined and what they claim to offer, and quarantine another. Only a person can approve.",
  inputSchema: {
    type: "object",
    properties: {
      operation: { type: "string", enum: ["list_quarantined", "inspect_quarantined", "quarantine"] },
      name: { type: "string", description: "Server; for all but list_quarantined" },
      limit: { type: "integer", minimum: 1, maximum: MAX_PAGE },
      offset: { type: "integer", minimum: 0, description: "inspect_quarantined: tools to skip" },
      cursor: { type: "string", description: "list_quarantined: next_cursor of the page before" },
    },
    required: ["operation"],
    additionalProperties: false,
  },
  annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: false },
};

/** Makes the tool. */
export function quarantineTool(steering: Steering): AdminTool {
  return {
    definition: DEFINITION,
    aliases: { quarantine_server: "quarantine", inspect_tools: "inspect_quarantined" },
    operations: {
      list_quarantined: {
        run: ({ args }) =>
          pageView(steering, {
            mode: "quarantined",
            limit: optionalNumber(args, "limit") ?? DEFAULT_PAGE,
            cursor: optionalText(args, "cursor"),
          }),
      },
      inspect_quarantined: {
        needs: ["name"],
        run: ({ args }) => {
          const server = textIn(args, "name");
          const all = steering.quarantinedToolsOf(server);
          const from = optionalNumber(args, "offset") ?? 0;
          const page = all.slice(from, from + (optionalNumber(args, "limit") ?? DEFAULT_PAGE));
          const isEmpty = all.length === 0;
          return {
            server,
            notice: isEmpty ? "Its tools were never read: nothing of it has been started" : UNTRUSTED,
            untrusted: true,
            tools: page.map(({ definition }) => definition),
            total: all.length,
            ...(from + page.length < all.length ? { next_offset: from + page.length } : {}),
          };
        },
      },
      quarantine: {
        needs: ["name"],
        change: "quarantine_change",
        run: async ({ args, by }) => {
          const server = textIn(args, "name");
          return { server, ...changeView(await steering.switchMode(server, { verb: "quarantine", by })) };
        },
      },
    },
  };
}
