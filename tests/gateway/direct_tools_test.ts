/**
 * Tools of servers under outward names: which name, which tools, and that a call skips no check.
 */
import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
import { ProxyError } from "../../src/core/errors.ts";
import type { JsonObject, ToolDefinition } from "../../src/core/model.ts";
import { OPEN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import { MAX_NAME_CHARS, outwardNameOf } from "../../src/gateway/direct_tools.ts";
import type { DirectScope } from "../../src/gateway/direct_tools.ts";
import type { Toolset } from "../../src/gateway/toolset.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";
import { openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const READ = { annotations: { readOnlyHint: true } };
const closing: (() => PromiseLike<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** A gateway that knows tools of servers nobody can connect. */
async function known(
  tools: Readonly<Record<string, readonly ToolDefinition[]>>,
  parts: Readonly<Record<string, Parameters<typeof makeServer>[0]>> = {},
): Promise<Gateway> {
  const servers = Object.keys(tools).map((name) =>
    makeServer({ name, url: "http://127.0.0.1:9/", startupMode: "lazy_loading", ...parts[name] }),
  );
  const gateway = await openGateway(servers, { known: tools });
  closing.push(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

function toolsetOf({ directTools }: Gateway, scope: DirectScope = { kind: "all" }): Toolset {
  return directTools.scoped(scope);
}

/** Names of all pages. */
function namesOf(toolset: Toolset, principal: Principal = OPEN): string[] {
  const names: string[] = [];
  for (let cursor: string | undefined, at = 0; at < 1_000; at += 1) {
    const page = toolset.list(principal, cursor);
    names.push(...page.tools.map(({ name }) => name));
    if (page.nextCursor === undefined) return names;
    cursor = page.nextCursor;
  }
  throw new Error("The list has no end");
}

function call(toolset: Toolset, name: string, args: JsonObject = {}, principal: Principal = OPEN) {
  return toolset.call(name, args, { principal });
}

function textOf(result: JsonObject): string {
  return (result["content"] as { readonly text?: string }[])[0]?.text ?? "";
}

function agent(parts: Partial<Principal>): Principal {
  return { id: "agent:bot", kind: "agent", permissions: new Set(["read"]), ...parts };
}

test.each([
  ["github", "create_issue", "github__create_issue"],
  ["a-b", "C", "a-b__C"],
  ["a", "_b", "a___b"],
  ["a_", "b", /^a___b_[0-9a-f]{10}$/],
  ["My Server", "do it", /^My_Server__do_it_[0-9a-f]{10}$/],
  ["bücher", "suche", /^b_cher__suche_[0-9a-f]{10}$/],
  ["a.b", "c/d", /^a_b__c_d_[0-9a-f]{10}$/],
  ["s", "x".repeat(61), `s__${"x".repeat(61)}`],
  ["s", "x".repeat(62), /^s__x{50}_[0-9a-f]{10}$/],
  ["🙂", "🙂", /^___+[0-9a-f]{10}$/],
])("outwardNameOf(%p, %p) is readable", (server, tool, expected) => {
  verifies("DIRECT-NAMES");
  expect(outwardNameOf(server, tool)).toMatch(expected);
});

test("outward names are unique, stable and valid, whatever servers and tools are called", () => {
  verifies("DIRECT-NAMES");
  // As the configuration and the catalog take them.
  const server = fc
    .oneof(
      fc.stringMatching(/^[a-c_. -]{1,6}$/),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 128 }),
    )
    .filter((name) => !name.includes(":") && !name.includes("__") && name.trim() !== "");
  const tool = fc.oneof(
    fc.stringMatching(/^[a-c_. -]{1,6}$/),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 256 }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(server, tool), { maxLength: 60 }), (pairs) => {
      const byName = new Map<string, string>();
      for (const [from, bare] of pairs) {
        const name = outwardNameOf(from, bare);
        expect(name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
        expect(name.length).toBeLessThanOrEqual(MAX_NAME_CHARS);
        expect(outwardNameOf(from, bare)).toBe(name);
        const id = `${from}:${bare}`;
        expect(byName.get(name) ?? id).toBe(id);
        byName.set(name, id);
      }
    }),
    { numRuns: 300 },
  );
});

test("a list has what is on offer, sorted, each definition as its server gave it but for the name", async () => {
  verifies("DIRECT-NAMES");
  const full: ToolDefinition = {
    name: "full",
    title: "Full",
    description: "All keys",
    inputSchema: { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
    outputSchema: { type: "object", properties: { n: { type: "number" } } },
    annotations: { readOnlyHint: true, title: "x" },
    _meta: { kept: 1 },
    x_unknown: [1],
  };
  const gateway = await known(
    {
      b: [makeDefinition("two"), full],
      a: [makeDefinition("one"), makeDefinition("gone")],
      off: [makeDefinition("hidden")],
      held: [makeDefinition("hidden")],
    },
    {
      a: { name: "a", url: "http://127.0.0.1:9/", startupMode: "lazy_loading", disabledTools: ["gone"] },
      off: { name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" },
      held: { name: "held", url: "http://127.0.0.1:9/", startupMode: "quarantined" },
    },
  );
  const toolset = toolsetOf(gateway);
  expect(namesOf(toolset)).toEqual(["a__one", "b__full", "b__two"]);
  expect(toolset.list(OPEN).tools[1]).toEqual({ ...full, name: "b__full" });
  expect(JSON.stringify(toolset.list(OPEN))).not.toContain("hidden");
});

test("of two tools with one outward name neither is served, and an operator is told once", async () => {
  verifies("DIRECT-NAMES");
  const taken = outwardNameOf("my srv", "x");
  const gateway = await known({
    "my srv": [makeDefinition("x"), makeDefinition("y")],
    my_srv: [makeDefinition(taken.slice("my_srv__".length))],
  });
  const toolset = toolsetOf(gateway);
  expect(namesOf(toolset)).toEqual([outwardNameOf("my srv", "y")]);
  expect(toolset.has(taken, OPEN)).toBe(false);
  expect(gateway.directTools.collisions()).toMatchObject([
    { level: "warning", code: "NAME_COLLISION", message: expect.stringContaining("'my srv:x'") as string },
  ]);
  expect(gateway.directTools.directNameOf("my srv:x")).toEqual({
    name: taken,
    takenBy: `my_srv:${taken.slice("my_srv__".length)}`,
  });
  namesOf(toolset);
  const told = gateway.lines.filter((line) => line.includes("same outward name"));
  expect(told).toHaveLength(1);
});

test("a list comes in pages, each tool once, also when tools come and go between two pages", async () => {
  verifies("MCP-LIST-PAGES");
  const all = Array.from({ length: 2_300 }, (_, at) => makeDefinition(`t${String(at).padStart(4, "0")}`));
  const gateway = await known({ s: all });
  const toolset = toolsetOf(gateway);
  const first = toolset.list(OPEN);
  expect(first.tools).toHaveLength(1_000);
  const names = namesOf(toolset);
  expect(names).toEqual(all.map(({ name }) => `s__${name}`));

  // The last tool of the page goes, and one before it comes.
  gateway.intake.take("s", [makeDefinition("a_new"), ...all.filter(({ name }) => name !== "t0999")]);
  const second = toolset.list(OPEN, first.nextCursor);
  const seen = [...first.tools, ...second.tools].map(({ name }) => name);
  expect(new Set(seen).size).toBe(seen.length);
  for (const { name } of all.slice(1_000, 1_900)) expect(seen).toContain(`s__${name}`);
  // Some come before those that were seen already.
  gateway.intake.take("s", [makeDefinition("a_1"), makeDefinition("a_2"), ...all]);
  const later = toolset.list(OPEN, first.nextCursor).tools.map(({ name }) => name);
  expect(later[0]).toBe("s__t1000");
  gateway.intake.take("s", [makeDefinition("a_new"), ...all.slice(1)]);
  // The same in the order of the server.
  const own = toolsetOf(gateway, { kind: "server", name: "s" });
  expect(namesOf(own)).toHaveLength(2_300);
  expect(namesOf(own)[0]).toBe("a_new");
});

test.each([
  "x",
  "bm9uc2Vuc2U",
  Buffer.from("[1,2]").toString("base64url"),
  Buffer.from('["a",-1]').toString("base64url"),
])("the cursor %p is refused", async (cursor) => {
  verifies("MCP-LIST-PAGES");
  const gateway = await known({ s: [makeDefinition("a")] });
  for (const toolset of [toolsetOf(gateway), gateway.toolsets.find({ kind: "default" }, OPEN).toolset]) {
    expect(() => toolset.list(OPEN, cursor)).toThrow(ProxyError);
  }
});

test("a page of large definitions is short", async () => {
  verifies("MCP-LIST-PAGES");
  const large = Array.from({ length: 12 }, (_, at) =>
    makeDefinition(`large_${at}`, { description: "x".repeat(900_000) }),
  );
  const gateway = await known({ s: large });
  const toolset = toolsetOf(gateway);
  expect(toolset.list(OPEN).tools.length).toBeLessThan(6);
  expect(namesOf(toolset)).toHaveLength(12);
});

test("a group has the tools of its servers and of the groups below, a server its own under their own names", async () => {
  verifies("MCP-ADDRESSES");
  await using gateway = await openGateway([], {
    file: JSON.stringify({
      groups: [
        { id: 1, name: "Top" },
        { id: 2, name: "Sub", parent: "Top" },
      ],
      mcpServers: [
        { name: "in", url: "http://127.0.0.1:9/", startup_mode: "lazy_loading", groups: ["Top"] },
        { name: "below", url: "http://127.0.0.1:9/", startup_mode: "lazy_loading", groups: ["Sub"] },
        { name: "out", url: "http://127.0.0.1:9/", startup_mode: "lazy_loading" },
      ],
    }),
    known: { in: [makeDefinition("a b")], below: [makeDefinition("x")], out: [makeDefinition("y")] },
  });
  const top = toolsetOf(gateway, { kind: "group", id: 1 });
  expect(namesOf(top)).toEqual(["below__x", outwardNameOf("in", "a b")]);
  expect(top.has("below__x", OPEN)).toBe(true);
  expect(top.has("out__y", OPEN)).toBe(false);
  const own = toolsetOf(gateway, { kind: "server", name: "in" });
  expect(namesOf(own)).toEqual(["a b"]);
  expect(own.has("a b", OPEN)).toBe(true);
  expect(own.has("in__a b", OPEN)).toBe(false);
});

test("a call passes every check, and the result is uncut and as the server gave it", async () => {
  verifies("DIRECT-ONE-PATH");
  const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } as const;
  const long = {
    content: [{ type: "text", text: "x".repeat(50_000) }],
    structuredContent: { ok: [1] },
    x: 1,
  };
  await using upstream = serveTools(
    [
      { name: "read", inputSchema: schema, ...READ },
      { name: "wipe", inputSchema: { type: "object" }, annotations: { destructiveHint: true } },
    ],
    { call: (name) => (name === "read" ? long : undefined) },
  );
  await using gateway = await openGateway([upstream.server({ name: "up" })], {
    settings: { toolResponseLimit: 100 },
  });
  await settle(gateway);
  const toolset = toolsetOf(gateway);
  expect(await call(toolset, "up__read", { n: 1 })).toEqual(long);
  expect(JSON.parse(textOf(await call(toolset, "up__wipe")))).toEqual({ name: "wipe", args: {} });
  const before = upstream.calls().length;
  const wrong = await call(toolset, "up__read", { n: "one" });
  expect(wrong["isError"]).toBe(true);
  expect(JSON.parse(textOf(wrong))).toMatchObject({ code: "ARGUMENTS_INVALID", inputSchema: schema });
  expect(upstream.calls()).toHaveLength(before);
});

test("read-only mode, a switched-off tool and a server that is off refuse a direct call as any other", async () => {
  verifies("DIRECT-ONE-PATH");
  await using upstream = serveTools([makeDefinition("write"), makeDefinition("off")]);
  await using gateway = await openGateway(
    [
      upstream.server({ name: "up", disabledTools: ["off"] }),
      upstream.server({ name: "held", startupMode: "quarantined" }),
    ],
    { settings: { readOnlyMode: true }, known: { held: [makeDefinition("x")] } },
  );
  await settle(gateway);
  const toolset = toolsetOf(gateway);
  const codes: unknown[] = [];
  for (const name of ["up__write", "up__off", "held__x"]) {
    const result = await call(toolset, name);
    expect(result["isError"]).toBe(true);
    codes.push((JSON.parse(textOf(result)) as { code: string }).code);
  }
  expect(codes).toEqual(["TOOL_REFUSED", "TOOL_REFUSED", "SERVER_OFF"]);
  expect(upstream.calls()).toEqual([]);
});

test("an agent lists and calls only what its token covers; the rest is not there for it", async () => {
  verifies("DIRECT-ONE-PATH");
  await using upstream = serveTools([
    makeDefinition("look", READ),
    makeDefinition("write"),
    makeDefinition("wipe", { annotations: { destructiveHint: true } }),
  ]);
  await using gateway = await openGateway([
    upstream.server({ name: "mine" }),
    upstream.server({ name: "other" }),
  ]);
  await settle(gateway);
  const bot = agent({ servers: new Set(["mine"]) });
  const toolset = toolsetOf(gateway);
  expect(namesOf(toolset, bot)).toEqual(["mine__look"]);
  expect(toolset.has("other__look", bot)).toBe(false);
  expect(toolset.has("other__nothing", bot)).toBe(false);
  for (const name of ["mine__write", "mine__wipe"]) {
    const result = await call(toolset, name, {}, bot);
    expect(JSON.parse(textOf(result))).toMatchObject({ code: "SCOPE_REFUSED" });
  }
  const foreign = await call(toolset, "other__look", {}, bot);
  expect(foreign["isError"]).toBe(true);
  expect(textOf(foreign)).not.toContain("other:");
  expect(upstream.calls()).toEqual([]);
  expect((await call(toolset, "mine__look", {}, bot))["isError"]).toBeUndefined();
});

test("a tool of a server nobody has read yet is called by its name, and the call connects the server", async () => {
  verifies("DIRECT-ONE-PATH");
  await using upstream = serveTools([makeDefinition("late")]);
  await using gateway = await openGateway([upstream.server({ name: "lazy", startupMode: "lazy_loading" })]);
  const toolset = toolsetOf(gateway);
  expect(namesOf(toolset)).toEqual([]);
  expect(toolset.has("lazy__late", OPEN)).toBe(true);
  expect(JSON.parse(textOf(await call(toolset, "lazy__late", { a: 1 })))).toEqual({
    name: "late",
    args: { a: 1 },
  });
  expect(namesOf(toolset)).toEqual(["lazy__late"]);
});
