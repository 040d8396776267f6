/**
 * The catalog: differences between lists, what is skipped, restoring, suggestions, memory of definitions.
 */
import { expect, test } from "bun:test";
import { Catalog } from "../../src/catalog/catalog.ts";
import { fingerprintOf } from "../../src/catalog/fingerprint.ts";
import { callVariantOf } from "../../src/catalog/policy.ts";
import type { ProxyError } from "../../src/core/errors.ts";
import type { ToolDefinition } from "../../src/core/model.ts";
import { makeDefinition } from "./fixtures.ts";

test("Catalog.replace() tells what was added, changed and removed", () => {
  const catalog = new Catalog();
  const first = [makeDefinition("a"), makeDefinition("b"), makeDefinition("c")];
  expect(catalog.replace("s", first)).toEqual({
    added: ["s:a", "s:b", "s:c"],
    changed: [],
    removed: [],
    skipped: [],
  });
  const second = [makeDefinition("a"), makeDefinition("b", { description: "new" }), makeDefinition("d")];
  expect(catalog.replace("s", second)).toEqual({
    added: ["s:d"],
    changed: ["s:b"],
    removed: ["s:c"],
    skipped: [],
  });
  expect(catalog.list().map((tool) => tool.id)).toEqual(["s:a", "s:b", "s:d"]);
  expect(catalog.get("s:b").definition.description).toBe("new");
  expect(catalog.size).toBe(3);
});

test("Catalog.replace() keeps the object of a tool that did not change, and sees no change in the order of keys", () => {
  const catalog = new Catalog();
  catalog.replace("s", [makeDefinition("a", { description: "x" })]);
  const before = catalog.get("s:a");
  catalog.replace("s", [makeDefinition("a", { description: "x" })]);
  expect(catalog.get("s:a")).toBe(before);
  const { inputSchema, description, name } = before.definition;
  const change = catalog.replace("s", [{ inputSchema, description, name } as ToolDefinition]);
  expect(change).toEqual({ added: [], changed: [], removed: [], skipped: [] });
});

test("Catalog.replace() leaves other servers alone, also with the same tool names", () => {
  const catalog = new Catalog();
  catalog.replace("s", [makeDefinition("a")]);
  catalog.replace("t", [makeDefinition("a")]);
  expect(catalog.replace("s", []).removed).toEqual(["s:a"]);
  expect(catalog.list().map((tool) => tool.id)).toEqual(["t:a"]);
  expect(catalog.servers).toEqual(["t"]);
});

let deep: Record<string, unknown> = {};
for (let level = 0; level < 10_000; level += 1) deep = { deep };

test.each<[unknown, string, string]>([
  [null, "", "it is not an object"],
  [[], "", "it is not an object"],
  [{ inputSchema: {} }, "", "it has no name"],
  [{ name: "", inputSchema: {} }, "", "it has no name"],
  [{ name: 3, inputSchema: {} }, "", "it has no name"],
  [{ name: "x".repeat(257), inputSchema: {} }, "x".repeat(256), "its name is longer than 256 characters"],
  [{ name: "a" }, "a", "its inputSchema is not an object"],
  [{ name: "a", inputSchema: [] }, "a", "its inputSchema is not an object"],
  [{ name: "a", inputSchema: {}, outputSchema: 1 }, "a", "its outputSchema is not an object"],
  [{ name: "a", inputSchema: { deep } }, "a", "its definition is nested too deeply"],
  [
    { name: "a", inputSchema: {}, description: "x".repeat(1_000_001) },
    "a",
    "its definition is longer than 1000000 characters",
  ],
])("Catalog.replace() skips an invalid definition and says why (%#)", (definition, name, reason) => {
  const catalog = new Catalog();
  const change = catalog.replace("s", [definition as ToolDefinition, makeDefinition("ok")]);
  expect(change).toEqual({ added: ["s:ok"], changed: [], removed: [], skipped: [{ name, reason }] });
});

test("Catalog.replace() takes the first of two tools of one name", () => {
  const catalog = new Catalog();
  const change = catalog.replace("s", [
    makeDefinition("a", { title: "1" }),
    makeDefinition("a", { title: "2" }),
  ]);
  expect(change.added).toEqual(["s:a"]);
  expect(change.skipped).toEqual([{ name: "a", reason: "its server announced it before" }]);
  expect(catalog.get("s:a").definition.title).toBe("1");
});

test("Catalog takes names such as __proto__ and constructor as names", () => {
  const catalog = new Catalog();
  const names = ["__proto__", "constructor", "then", "toString"];
  catalog.replace(
    "__proto__",
    names.map((name) => makeDefinition(name)),
  );
  expect(catalog.list({ server: "__proto__" }).map((tool) => tool.name)).toEqual(names);
  expect(catalog.find("constructor:constructor")).toBeUndefined();
});

test("Catalog.restore() takes rows without parsing them and marks their servers stale", () => {
  const definition = makeDefinition("a", { annotations: { readOnlyHint: true } });
  const row = {
    server: "s",
    name: "a",
    definition: JSON.stringify(definition),
    fingerprint: fingerprintOf(definition),
  };
  const spoiled = { server: "s", name: "b", definition: "{", fingerprint: "f" };
  const catalog = new Catalog();
  expect(catalog.restore([row, row, spoiled])).toBe(2);
  expect(catalog.isStale("s")).toBe(true);
  expect(catalog.get("s:a").definition).toEqual(definition);
  expect(callVariantOf(catalog.get("s:a"))).toBe("call_tool_read");
  expect(catalog.get("s:b").definition).toEqual({ name: "b", inputSchema: { type: "object" } });
  expect(catalog.replace("s", [definition])).toEqual({
    added: [],
    changed: [],
    removed: ["s:b"],
    skipped: [],
  });
  expect(catalog.isStale("s")).toBe(false);
});

test("Catalog keeps staleness by server", () => {
  const catalog = new Catalog();
  catalog.replace("s", [makeDefinition("a")]);
  catalog.replace("t", [makeDefinition("a")], { isStale: true });
  expect([catalog.isStale("s"), catalog.isStale("t"), catalog.isStale("u")]).toEqual([false, true, false]);
  catalog.markStale("s");
  catalog.markFresh("t");
  expect([catalog.isStale("s"), catalog.isStale("t")]).toEqual([true, false]);
  expect(catalog.remove("s")).toEqual(["s:a"]);
  expect(catalog.isStale("s")).toBe(false);
});

test("Catalog.get() throws TOOL_UNKNOWN with what may have been meant", () => {
  const catalog = new Catalog();
  catalog.replace(
    "github",
    ["create_issue", "list_issues", "merge"].map((name) => makeDefinition(name)),
  );
  catalog.replace("gitlab", [makeDefinition("create_issue")]);
  const meant = (id: string): unknown => {
    try {
      return catalog.get(id);
    } catch (error) {
      expect((error as ProxyError).code).toBe("TOOL_UNKNOWN");
      return (error as ProxyError).data?.["did_you_mean"];
    }
  };
  expect(meant("github:creat_isue")).toEqual(["github:create_issue", "gitlab:create_issue"]);
  expect(meant("create_issue")).toEqual(["github:create_issue", "gitlab:create_issue"]);
  expect(meant("GITHUB:List_Issues")).toEqual(["github:list_issues"]);
  expect(meant("something:else")).toEqual([]);
  expect(meant("x".repeat(100_000))).toEqual([]);
});

test("Catalog definitions survive being parsed again", () => {
  const catalog = new Catalog();
  const definitions = Array.from({ length: 600 }, (_, at) =>
    makeDefinition(`t${at}`, { description: `d${at}` }),
  );
  catalog.replace("s", definitions);
  for (let round = 0; round < 2; round += 1) {
    expect(catalog.list().map((tool) => tool.definition)).toEqual(definitions);
  }
});
