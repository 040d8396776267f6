/**
 * Lists of tools: filters, and pages that stay right while tools and servers come and go.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Catalog } from "../../src/catalog/catalog.ts";
import { Groups } from "../../src/catalog/groups.ts";
import type { StartupMode } from "../../src/core/model.ts";
import type { Principal } from "../../src/core/principal.ts";
import { listTools } from "../../src/gateway/tool_list.ts";
import type { ToolListDeps, ToolQuery } from "../../src/gateway/tool_list.ts";
import type { Upstream } from "../../src/upstream/upstreams.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

interface Given {
  readonly name: string;
  readonly tools: readonly string[];
  readonly mode?: StartupMode;
  readonly groups?: readonly string[];
  readonly disabledTools?: readonly string[];
}

function listOf(...all: readonly Given[]): ToolListDeps {
  const catalog = new Catalog();
  const upstreams = all.map(({ name, tools, mode = "active", groups = [], disabledTools = [] }) => {
    const definitions = tools.map((tool) =>
      makeDefinition(tool, {
        description: `Does "${tool}" things`,
        annotations: { readOnlyHint: tool !== "wipe" },
      }),
    );
    catalog.replace(name, definitions);
    return { server: makeServer({ name, groups, disabledTools }), mode } as unknown as Upstream;
  });
  const definition = { id: 1, name: "Web tools", description: "", enabled: true };
  return {
    upstreams: { list: () => upstreams },
    catalog,
    finder: {
      mayReach: ({ servers }, server) => servers?.has(server) !== false,
      callWith: ({ name }) => (name === "wipe" ? "call_tool_write" : "call_tool_read"),
    },
    configuration: {
      groups: new Groups(
        [definition],
        upstreams.map(({ server }) => server),
      ),
    },
  };
}

const MIXED = listOf(
  { name: "a", tools: ["read", "wipe"], groups: ["1"] },
  { name: "held", tools: ["secret"], mode: "quarantined" },
  { name: "b", tools: ["read", "find"], disabledTools: ["find"] },
  { name: "off", tools: ["old"], mode: "disabled", groups: ["1"] },
);
const AGENT: Principal = {
  id: "agent:a",
  kind: "agent",
  permissions: new Set(["read"]),
  servers: new Set(["a", "b", "off"]),
};

test.each<[string, ToolQuery, readonly string[], number]>([
  ["all but those of what is quarantined", {}, ["a:read", "a:wipe", "b:read", "b:find", "off:old"], 3],
  ["of a server", { server: "b" }, ["b:read", "b:find"], 1],
  ["of no server", { server: "nobody" }, [], 0],
  ["of what is quarantined", { server: "held" }, [], 0],
  ["of a group", { group: "web-tools" }, ["a:read", "a:wipe", "off:old"], 2],
  ["text in a name", { q: "REA" }, ["a:read", "b:read"], 2],
  ["text in a description, with a quote", { q: '"wipe" thing' }, ["a:wipe"], 1],
  ["what is only in the schema is no hit", { q: "inputschema" }, [], 0],
  ["what an agent may call", { principal: AGENT }, ["a:read", "b:read"], 2],
])("listTools() lists %s", (_, query, ids, enabled) => {
  verifies("LIST-FILTERS");
  const page = listTools(query, MIXED);
  expect(page.tools.map(({ tool }) => tool.id)).toEqual([...ids]);
  expect(page).toMatchObject({ total: ids.length, enabled });
});

test("listTools() refuses a cursor that is none, and a group that is none", async () => {
  verifies("LIST-FILTERS");
  expect(await failureOf(async () => listTools({ cursor: "x" }, MIXED))).toMatchObject({ code: "USAGE" });
  expect(await failureOf(async () => listTools({ group: "x" }, MIXED))).toMatchObject({
    code: "GROUP_UNKNOWN",
  });
});

test("the pages of listTools() have every tool that stays once, whatever goes in between", () => {
  verifies("LIST-PAGES");
  const shelf = fc.integer({ min: 0, max: 5 });
  const removal = fc.tuple(fc.nat(6), fc.option(fc.nat(5)));
  fc.assert(
    fc.property(
      fc.array(shelf, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(removal, { maxLength: 6 }),
      (sizes, limit, removals) => {
        let servers = sizes.map((size, at) => ({
          name: `s${at}`,
          tools: Array.from({ length: size }, (_, tool) => `t${tool}`),
        }));
        const all = servers.flatMap(({ name, tools }) => tools.map((tool) => `${name}:${tool}`));
        const seen: string[] = [];
        let cursor: string | undefined;
        for (let page = 0; page === 0 || cursor !== undefined; page += 1) {
          expect(page).toBeLessThanOrEqual(all.length);
          const { tools, nextCursor } = listTools({ limit, cursor }, listOf(...servers));
          seen.push(...tools.map(({ tool }) => tool.id));
          cursor = nextCursor;
          const [at, tool] = removals[page] ?? [-1, null];
          // A server goes, or one of its tools.
          servers = servers.flatMap((server, index) => {
            if (index !== at) return [server];
            return tool === null
              ? []
              : [{ ...server, tools: server.tools.filter((name) => name !== `t${tool}`) }];
          });
        }
        const left = new Set(servers.flatMap(({ name, tools }) => tools.map((tool) => `${name}:${tool}`)));
        expect(all.filter((id) => left.has(id) && !seen.includes(id))).toEqual([]);
        expect(seen.length).toBe(new Set(seen).size);
      },
    ),
  );
});
