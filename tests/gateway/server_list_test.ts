/**
 * Lists of servers: filters, orders, and pages that stay right while servers come and go.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Groups } from "../../src/catalog/groups.ts";
import type { Category, ConnectionState, Server, StartupMode } from "../../src/core/model.ts";
import type { Principal } from "../../src/core/principal.ts";
import { listServers, SORT_KEYS } from "../../src/gateway/server_list.ts";
import type { ServerListDeps, ServerQuery } from "../../src/gateway/server_list.ts";
import type { Upstream } from "../../src/upstream/upstreams.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

interface Given {
  readonly mode?: StartupMode;
  readonly connection?: ConnectionState;
  readonly category?: Category;
  readonly tools?: number;
  readonly since?: number;
}

/** A server as a list looks at it. */
function standing(parts: Partial<Server> & { readonly name: string }, given: Given = {}) {
  const { mode = "active", connection = "ready", category = "connected", since = 0, tools = 0 } = given;
  const status = { attempts: 1, failures: 0, since, isStopped: false, isTrying: false };
  const upstream = { server: makeServer(parts), mode, connection, category, status };
  return { upstream: upstream as unknown as Upstream, tools };
}

function listOf(...all: readonly ReturnType<typeof standing>[]): ServerListDeps {
  const counts = new Map(all.map(({ upstream, tools }) => [upstream.server.name, tools]));
  const definitions = [
    { id: 1, name: "Web tools", description: "", enabled: true },
    { id: 2, name: "inner", description: "", enabled: true, parent: "1" },
  ];
  const groups = new Groups(
    definitions,
    all.map(({ upstream }) => upstream.server),
  );
  return {
    upstreams: { list: () => all.map(({ upstream }) => upstream) },
    catalog: { count: (name) => counts.get(name) ?? 0 },
    configuration: { groups },
  };
}

const MIXED = listOf(
  standing(
    { name: "github", description: "Issues and pulls", protocol: "stdio", tags: ["code"], groups: ["1"] },
    { tools: 40, since: 3 },
  ),
  standing(
    {
      name: "Linear",
      url: "https://mcp.linear.app/sse",
      transport: "sse",
      protocol: "sse",
      tags: ["work", "code"],
      groups: ["inner"],
    },
    { mode: "lazy_loading", connection: "disconnected", category: "sleeping", tools: 7, since: 2 },
  ),
  standing(
    { name: "files", command: "npx", protocol: "stdio" },
    { mode: "disabled", connection: "disconnected", category: "disabled", since: 1 },
  ),
  standing(
    {
      name: "web",
      url: "http://127.0.0.1/mcp?api_key=hunter2hunter2",
      protocol: "streamable-http",
      groups: ["1"],
    },
    { connection: "error", category: "disconnected", tools: 7, since: 4 },
  ),
);

const namesOf = (query: ServerQuery, deps: ServerListDeps = MIXED): readonly string[] =>
  listServers(query, deps).servers.map(({ name }) => name);

test.each<[string, ServerQuery, readonly string[]]>([
  ["one category", { category: "sleeping" }, ["Linear"]],
  ["several categories", { category: "sleeping,disabled" }, ["Linear", "files"]],
  ["a startup mode", { mode: "active" }, ["github", "web"]],
  ["a connection state", { status: "error" }, ["web"]],
  ["a group by its slug, with what is below it", { group: "web-tools" }, ["github", "Linear", "web"]],
  ["a group by its id", { group: "2" }, ["Linear"]],
  ["text in a name, whatever its case", { q: "LINE" }, ["Linear"]],
  ["text in a description", { q: "pulls" }, ["github"]],
  ["text in a url", { q: "127.0.0.1" }, ["web"]],
  ["text in a command", { q: "npx" }, ["files"]],
  ["what is masked is not found", { q: "hunter2" }, []],
  ["a protocol", { protocol: "stdio" }, ["github", "files"]],
  ["a protocol however it is written", { protocol: "streamable_http" }, ["web"]],
  ["a tag", { tag: "code" }, ["github", "Linear"]],
  ["all of what is asked for", { tag: "code", category: "connected" }, ["github"]],
  ["nothing asked for", {}, ["github", "Linear", "files", "web"]],
  ["by name", { sort: "name" }, ["files", "github", "Linear", "web"]],
  ["by name, downwards", { sort: "-name" }, ["web", "Linear", "github", "files"]],
  ["by tools, equal ones by name", { sort: "-tool_count" }, ["github", "Linear", "web", "files"]],
  ["by time", { sort: "since" }, ["files", "Linear", "github", "web"]],
])("listServers() lists %s", (_, query, names) => {
  verifies("LIST-FILTERS");
  const page = listServers(query, MIXED);
  expect(page.servers.map(({ name }) => name)).toEqual([...names]);
  expect(page.total).toBe(names.length);
  expect(page.stats).toMatchObject({ total_servers: 4, connected_servers: 1, total_tools: 54 });
});

test.each<[string, ServerQuery, string, RegExp]>([
  ["a category that is none", { category: "offline" }, "USAGE", /connected, disconnected, sleeping/],
  ["a mode that is none", { mode: "lazy" }, "USAGE", /lazy_loading/],
  ["a state that is none", { status: "up" }, "USAGE", /ready/],
  ["an order that is none", { sort: "-size" }, "USAGE", /tool_count/],
  ["a cursor that is none", { cursor: "3" }, "USAGE", /next_cursor/],
  ["a cursor of another order", { sort: "name", cursor: cursorOf({ sort: "since" }) }, "USAGE", /sort/],
  ["a group that is none", { group: "web tool" }, "GROUP_UNKNOWN", /Web tools|web-tools/],
])("listServers() refuses %s and says what would be right", async (_, query, code, hint) => {
  verifies("LIST-FILTERS");
  expect(await failureOf(async () => listServers(query, MIXED))).toMatchObject({
    code,
    hint: expect.stringMatching(hint) as string,
  });
});

function cursorOf(query: ServerQuery): string | undefined {
  return listServers({ ...query, limit: 1 }, MIXED).next_cursor;
}

test("listServers() shows and counts only what a principal may reach", () => {
  verifies("LIST-FILTERS");
  const principal: Principal = {
    id: "agent:a",
    kind: "agent",
    permissions: new Set(["read"]),
    servers: new Set(["files"]),
    groups: new Set(["inner"]),
  };
  const page = listServers({ principal }, MIXED);
  expect(page.servers.map(({ name }) => name)).toEqual(["Linear", "files"]);
  expect(page).toMatchObject({ total: 2, stats: { total_servers: 2, total_tools: 7 } });
});

describe("pages", () => {
  const someNames = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }), {
    minLength: 1,
    maxLength: 30,
  });
  const sorts = [undefined, ...SORT_KEYS, ...SORT_KEYS.map((key) => `-${key}`)];

  test("of any order have every server once, in the order of the whole list", () => {
    verifies("LIST-PAGES");
    fc.assert(
      fc.property(
        someNames,
        fc.constantFrom(...sorts),
        fc.integer({ min: 1, max: 7 }),
        (names, sort, limit) => {
          const deps = listOf(
            ...names.map((name, at) => standing({ name }, { tools: at % 3, since: at % 4 })),
          );
          const pages: string[][] = [];
          let cursor: string | undefined;
          do {
            const page = listServers({ sort, limit, cursor }, deps);
            expect(page.total).toBe(names.length);
            pages.push(page.servers.map(({ name }) => name));
            expect(pages.length).toBeLessThanOrEqual(names.length);
            cursor = page.next_cursor;
          } while (cursor !== undefined);
          expect(pages.flat()).toEqual([...namesOf({ sort }, deps)]);
          expect(pages.slice(0, -1).every((page) => page.length === limit)).toBe(true);
        },
      ),
    );
  });

  test("show every server that stays once, whatever is added and removed in between", () => {
    verifies("LIST-PAGES");
    const change = fc.array(fc.tuple(fc.boolean(), fc.nat(40)), { maxLength: 8 });
    fc.assert(
      fc.property(someNames, fc.constantFrom(undefined, "name", "-name"), change, (names, sort, changes) => {
        const present = [...names];
        const gone = new Set<string>();
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const deps = listOf(...present.map((name) => standing({ name })));
          const page = listServers({ sort, limit: 2, cursor }, deps);
          seen.push(...page.servers.map(({ name }) => name));
          cursor = page.next_cursor;
          const [isAdded, at] = changes.pop() ?? [false, -1];
          if (isAdded) present.push(`new server ${changes.length}`);
          else if (at >= 0 && present.length > 1)
            for (const name of present.splice(at % present.length, 1)) gone.add(name);
        } while (cursor !== undefined);
        const stayed = names.filter((name) => !gone.has(name));
        expect(stayed.filter((name) => !seen.includes(name))).toEqual([]);
        expect(seen.length).toBe(new Set(seen).size);
      }),
    );
  });
});

test("serverView() shows what an entry has, and none of its secrets", () => {
  verifies("SECRETS-MASKED");
  const [view] = listServers(
    {},
    listOf(
      standing({
        name: "s",
        description: "Called with abcdef0123456789abcdef",
        url: "https://me:pass1234@host/mcp?token=tok1234",
        command: "run",
        args: ["--token", "arg1234", "plain", "abcdef0123456789abcdef"],
        workingDir: "/srv",
        env: new Map([
          ["API_KEY", "abcdef0123456789abcdef"],
          ["FROM", "${env:HOME}"],
        ]),
        headers: new Map([["Authorization", "Bearer head1234"]]),
        tags: ["t"],
        enabledTools: ["a"],
        disabledTools: ["b"],
      }),
    ),
  ).servers;
  expect(view).toMatchObject({
    url: "https://***@host/mcp?token=***",
    description: "Called with ***",
    args: ["--token", "***", "plain", "***"],
    working_dir: "/srv",
    env: { API_KEY: "***", FROM: "${env:HOME}" },
    headers: { Authorization: "***" },
    tags: ["t"],
    enabled_tools: ["a"],
    disabled_tools: ["b"],
  });
});
