/**
 * The management tools `search_servers` and `list_registries`.
 *
 * Owns their menus. Invariant: what is found is text from strangers and is marked so; nothing is added here.
 */
import type { ToolDefinition } from "../core/model.ts";
import { optionalNumber, optionalText, textIn, UNTRUSTED } from "./admin_tool.ts";
import type { AdminTool } from "./admin_tool.ts";
import type { Registries } from "./registries.ts";

const DEFAULT_HITS = 10;
const MAX_HITS = 50;

const SEARCH: ToolDefinition = {
  name: "search_servers",
  description: "Find MCP servers in a registry. Add one with upstream_servers.",
  inputSchema: {
    type: "object",
    properties: {
      registry: { type: "string", description: "Id, from list_registries" },
      search: { type: "string", description: "Words in name or description" },
      tag: { type: "string" },
      limit: { type: "integer", minimum: 1, maximum: MAX_HITS },
    },
    required: ["registry"],
    additionalProperties: false,
  },
  annotations: { readOnlyHint: true, openWorldHint: true },
};

const LIST: ToolDefinition = {
  name: "list_registries",
  description: "List the registries search_servers knows.",
  inputSchema: { type: "object", properties: {}, additionalProperties: false },
  annotations: { readOnlyHint: true, openWorldHint: false },
};

/** Makes both tools. */
export function registryTools(registries: Pick<Registries, "list" | "search">): readonly AdminTool[] {
  return [
    {
      definition: SEARCH,
      operations: {
        search_servers: {
          needs: ["registry"],
          run: async ({ args }) => {
            const { registry, servers, total } = await registries.search(textIn(args, "registry"), {
              query: optionalText(args, "search"),
              tag: optionalText(args, "tag"),
              limit: optionalNumber(args, "limit") ?? DEFAULT_HITS,
            });
            return { notice: UNTRUSTED, registry: registry.id, servers, total };
          },
        },
      },
    },
    {
      definition: LIST,
      operations: {
        list_registries: {
          run: () => {
            const shown = registries.list().map(({ id, name, description, url, tags }) => ({
              id,
              name,
              description,
              url,
              tags,
            }));
            return { registries: shown, total: shown.length };
          },
        },
      },
    },
  ];
}
