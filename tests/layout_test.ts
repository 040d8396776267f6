/**
 * Holds the layout of `src/`, and proves for each rule that it goes red.
 *
 * Owns the planted violations; the rules are in `layout.ts`. Also what `serve` reads before it listens, where
 * dropping type imports, as `Bun.Transpiler` does, is what is wanted.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { checkLayout } from "./layout.ts";
import type { LayoutRule } from "./layout.ts";
import { verifies } from "./requirements.ts";

const HEADER = "/** Owns one thing. */\n";

test("the sources of mcpproxy keep the layout", async () => {
  const sources = new Map<string, string>();
  for await (const path of new Bun.Glob("src/**/*").scan({ cwd: `${import.meta.dir}/..` })) {
    sources.set(path, await Bun.file(`${import.meta.dir}/../${path}`).text());
  }
  expect(sources.has("src/core/errors.ts")).toBe(true);
  expect(checkLayout(sources).map(({ rule, at, message }) => `${rule}: ${at}: ${message}`)).toEqual([]);
});

/** Every module that is read when one is loaded: sources by their path from the root, packages by name. */
async function readWith(path: string): Promise<ReadonlySet<string>> {
  const root = join(import.meta.dir, "..");
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const found = new Set([path]);
  for (const module of found) {
    if (!module.startsWith("src/") || !module.endsWith(".ts")) continue;
    const imports = transpiler.scanImports(await Bun.file(join(root, module)).text());
    for (const { kind, path: specifier } of imports) {
      if (kind !== "import-statement") continue;
      found.add(specifier.startsWith(".") ? join(module, "..", specifier) : specifier);
    }
  }
  return found;
}

test("'serve' reads nothing of the MCP SDK before it listens", async () => {
  const isSdk = (name: string): boolean => name.startsWith("@modelcontextprotocol/");
  const read = await readWith("src/cli/serve.ts");
  const sooner = ["src/proxy.ts", "src/upstream/keeper.ts", "src/front/endpoint.ts", "hono"];
  for (const name of sooner) expect(read).toContain(name);
  expect([...read].filter(isSdk)).toEqual([]);
  const later = ["src/upstream/connection.ts", "src/front/mcp.ts"];
  for (const path of later) expect([...(await readWith(path))].some(isSdk)).toBe(true);
});

test("'serve' reads nothing of the reference and the pages before it listens", async () => {
  verifies("OPENAPI-LAZY");
  const isLate = (name: string): boolean => /^src\/(?:ui\/|api\/(?:openapi|reference))/.test(name);
  const read = await readWith("src/cli/serve.ts");
  expect(read).toContain("src/api/page.ts");
  expect([...read].filter(isLate)).toEqual([]);
  expect([...(await readWith("src/api/openapi.ts"))].some(isLate)).toBe(true);
});

test("'serve' reads nothing before it listens that few requests need", async () => {
  const late = [
    ..."config_document doctor explain import import_forms preflight reference_servers registry_entry surroundings"
      .split(" ")
      .map((name) => `src/gateway/${name}.ts`),
    ...["child", "login_path", "otlp", "public_fetch"].map((name) => `src/lib/${name}.ts`),
    // For compressing a log that became too large.
    "node:stream/promises",
    "node:zlib",
  ];
  const sources = late.filter((name) => name.startsWith("src/"));
  for (const path of sources) expect(await Bun.file(join(import.meta.dir, "..", path)).exists()).toBe(true);
  const read = await readWith("src/cli/serve.ts");
  expect(late.filter((name) => read.has(name))).toEqual([]);
});

test("the typed client reads the table of errors, and nothing else", async () => {
  verifies("CLIENT-TYPED");
  expect(await readWith("src/api/client.ts")).toEqual(new Set(["src/api/client.ts", "src/core/errors.ts"]));
});

type Files = Readonly<Record<string, string>>;

const SOUND: readonly (readonly [name: string, files: Files])[] = [
  ["a call down", { "core/a.ts": 'import { b } from "../lib/b.ts";', "lib/b.ts": "export const b = 1;" }],
  ["a neighbour on the floor", { "lib/a.ts": 'export * from "./b.ts";', "lib/b.ts": "export const b = 1;" }],
  ["an asset outside src", { "state/a.ts": 'import sql from "../../drizzle/0.sql" with { type: "text" };' }],
  ["a page as text", { "api/a.ts": 'import("../ui/b.js", { with: { type: "text" } });', "ui/b.js": "" }],
  ["a shebang before the header", { "main.ts": "RAW#!/usr/bin/env bun\n/** Starts. */\nprocess.exit(0);" }],
  ["the listener", { "http.ts": 'import { Hono } from "hono"; Bun.serve({}); export type A = Hono;' }],
  [
    "the root over both fronts",
    {
      "proxy.ts": 'import "./front/a.ts"; import "./api/b.ts";',
      "front/a.ts": 'import { M } from "@modelcontextprotocol/server";',
      "api/b.ts": "export {};",
    },
  ],
  [
    "types for the scale suite",
    { "scale/a.ts": 'import type { P } from "../api/b.ts";', "api/b.ts": "export {};" },
  ],
  [
    "the command line over an island",
    { "cli/a.ts": 'import "../mock/b.ts";', "mock/b.ts": "Bun.serve({});" },
  ],
  ["words in strings and comments", { "lib/a.ts": '// Bun.serve()\nexport const a = "import \\"hono\\"";' }],
  [
    "a declaration file",
    { "sql.d.ts": 'declare module "*.sql" { const text: string; export default text; }' },
  ],
  [
    "a parameter that hides a global",
    { "lib/a.ts": "export const a = (process: { stdout: 1 }) => process.stdout;" },
  ],
  [
    "a variable that hides a global",
    {
      "lib/a.ts": "export function a(b: { exit: 1 }) { const process = b; return process.exit; }",
    },
  ],
  ["a member of another object", { "lib/a.ts": "export const a = (child: { stdout: 1 }) => child.stdout;" }],
];

const BROKEN: readonly (readonly [rule: LayoutRule, name: string, files: Files])[] = [
  [
    "upward",
    "a value",
    { "lib/a.ts": 'import { b } from "../core/b.ts";', "core/b.ts": "export const b = 1;" },
  ],
  ["upward", "a type", { "lib/a.ts": 'import type { B } from "../core/b.ts";', "core/b.ts": "export {};" }],
  ["upward", "an export-from", { "state/a.ts": 'export * from "../api/b.ts";', "api/b.ts": "export {};" }],
  ["upward", "a dynamic import", { "core/a.ts": 'await import("../proxy.ts");', "proxy.ts": "export {};" }],
  ["upward", "an import type", { "core/a.ts": 'type B = import("../main.ts").B;', "main.ts": "export {};" }],
  ["upward", "a require", { "lib/a.ts": 'require("../core/b.ts");', "core/b.ts": "export {};" }],
  ["upward", "a test", { "lib/a.ts": 'import "../../tests/requirements.ts";' }],
  ["sideways", "front to api", { "front/a.ts": 'import "../api/b.ts";', "api/b.ts": "export {};" }],
  [
    "sideways",
    "api to front",
    { "api/a.ts": 'import type {} from "../front/b.ts";', "front/b.ts": "export {};" },
  ],
  ["island", "mock in a floor", { "front/a.ts": 'import "../mock/b.ts";', "mock/b.ts": "export {};" }],
  ["island", "code of a page", { "api/a.ts": 'import "../ui/b.ts";', "ui/b.ts": "export {};" }],
  ["island", "a page in a lower floor", { "state/a.ts": 'import "../ui/b.js";', "ui/b.js": "" }],
  ["island", "a floor in mock", { "mock/a.ts": 'import "../state/b.ts";', "state/b.ts": "export {};" }],
  ["island", "a value in scale", { "scale/a.ts": 'import "../state/b.ts";', "state/b.ts": "export {};" }],
  ["island", "a value in ui", { "ui/a.ts": 'import "../core/b.ts";', "core/b.ts": "export {};" }],
  ["cycle", "of two files", { "lib/a.ts": 'import "./b.ts";', "lib/b.ts": 'import "./a.ts";' }],
  [
    "cycle",
    "of types, over three",
    {
      "lib/a.ts": 'import type {} from "./b.ts";',
      "lib/b.ts": 'import type {} from "./c.ts";',
      "lib/c.ts": 'import type {} from "./a.ts";',
    },
  ],
  ["missing file", "no suffix", { "lib/a.ts": 'import "./b";', "lib/b.ts": "export {};" }],
  ["import form", "a computed name", { "lib/a.ts": "export const a = (name: string) => import(name);" }],
  ["owner", "bun:sqlite", { "catalog/a.ts": 'import { Database } from "bun:sqlite";' }],
  ["owner", "drizzle", { "api/a.ts": 'import type { SQL } from "drizzle-orm/sqlite-core";' }],
  ["owner", "the SDK client", { "front/a.ts": 'import { Client } from "@modelcontextprotocol/client";' }],
  ["owner", "the SDK server", { "api/a.ts": 'import {} from "@modelcontextprotocol/server/stdio";' }],
  ["owner", "the older SDK", { "front/a.ts": 'import "@modelcontextprotocol/sdk/types.js";' }],
  ["owner", "Orama", { "gateway/a.ts": 'import { search } from "@orama/orama";' }],
  ["owner", "Hono", { "gateway/a.ts": 'import type { Context } from "hono";' }],
  ["owner", "Bun.serve", { "front/a.ts": "Bun.serve({});" }],
  ["owner", "Bun.serve by a string key", { "front/a.ts": 'Bun["serve"]({});' }],
  ["owner", "Bun.serve behind globalThis", { "front/a.ts": "globalThis.Bun.serve({});" }],
  ["owner", "Bun.serve by import", { "front/a.ts": 'import { serve } from "bun";' }],
  ["owner", "Bun.spawn", { "upstream/a.ts": "Bun.spawn([]);" }],
  ["owner", "Bun.spawn taken apart", { "upstream/a.ts": "const { spawn } = Bun;" }],
  ["owner", "child processes", { "upstream/a.ts": 'import { spawn } from "node:child_process";' }],
  ["owner", "process.kill", { "upstream/a.ts": "process.kill(1);" }],
  [
    "owner",
    "stdout beside a hiding parameter",
    {
      "lib/a.ts": "export const a = (process: unknown) => process;\nprocess.stdout.write(String(a));",
    },
  ],
  [
    "owner",
    "exit by another name for the global",
    { "lib/a.ts": "const process = globalThis.process; process.exit(0);" },
  ],
  ["owner", "argv", { "proxy.ts": "export const a = process.argv;" }],
  ["owner", "stdout", { "lib/a.ts": 'process.stdout.write("");' }],
  ["owner", "exit", { "state/a.ts": "process.exit(1);" }],
  ["owner", "exit by import", { "state/a.ts": 'import { exit } from "node:process";' }],
  ["file name", "kebab-case", { "lib/my-file.ts": "export {};" }],
  ["file name", "camelCase", { "lib/myFile.ts": "export {};" }],
  ["file name", "a barrel", { "lib/index.ts": "export {};" }],
  ["file name", "another barrel", { "lib/mod.ts": "export {};" }],
  ["unknown place", "a folder", { "utils/a.ts": "export {};" }],
  ["unknown place", "a file", { "helper.ts": "export {};" }],
  ["deep folder", "two levels", { "lib/deep/a.ts": "export {};" }],
  ["size", "501 lines", { "lib/a.ts": "export {};\n".repeat(500) }],
  ["default export", "of a function", { "lib/a.ts": "export default function run() {}" }],
  ["default export", "by renaming", { "lib/a.ts": "const a = 1; export { a as default };" }],
  ["header", "none", { "lib/a.ts": "RAWexport {};" }],
  ["header", "a line comment", { "lib/a.ts": "RAW// Owns one thing.\nexport {};" }],
  ["syntax", "half a statement", { "lib/a.ts": "export const a =" }],
];

/** Puts files below `src/` and a header on top, unless the text begins with `RAW`. */
function plant(files: Files): ReadonlyMap<string, string> {
  const withHeader = (text: string): string => (text.startsWith("RAW") ? text.slice(3) : HEADER + text);
  return new Map(Object.entries(files).map(([path, text]) => [`src/${path}`, withHeader(text)]));
}

test.each(SOUND)("checkLayout() accepts %s", (_name, files) => {
  expect(checkLayout(plant(files))).toEqual([]);
});

test.each(BROKEN)("checkLayout() reports '%s': %s", (rule, _name, files) => {
  expect([...new Set(checkLayout(plant(files)).map((violation) => violation.rule))]).toEqual([rule]);
});

test("checkLayout() names the line of an import", () => {
  const sources = plant({ "lib/a.ts": '\n\nimport {} from "hono";' });
  expect(checkLayout(sources)).toEqual([
    { rule: "owner", at: "src/lib/a.ts:4", message: "'hono' belongs to front, api, http.ts" },
  ]);
});
