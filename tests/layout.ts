/**
 * The rules of the layout, as functions over a map of path to text.
 *
 * Owns the floors, who alone may use which package or global, and the form of file names and sizes; what
 * style can hold is the linter's. Invariant: a rule reads syntax trees, never lines, so neither a string nor
 * a comment can fool it. `Bun.Transpiler.scanImports` was rejected because it drops type imports, and
 * dependency-cruiser because it finds no modules with TypeScript 7.
 */
import { posix } from "node:path";
import { parseSync } from "oxc-parser";

/** Source texts by path from the project's root, such as `src/lib/log.ts`. */
export type Sources = ReadonlyMap<string, string>;

/** The name of a rule; each is proven to go red by a planted violation. */
export type LayoutRule =
  | "cycle"
  | "deep folder"
  | "default export"
  | "file name"
  | "header"
  | "import form"
  | "island"
  | "missing file"
  | "owner"
  | "sideways"
  | "size"
  | "syntax"
  | "unknown place"
  | "upward";

/** One place where a rule is broken. */
export interface Violation {
  readonly rule: LayoutRule;
  /** Path and 1-based line, `src/lib/log.ts:3`. */
  readonly at: string;
  readonly message: string;
}

const MAX_LINES = 500;
const SNAKE_CASE = /^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/;
const CODE_FILE = /\.tsx?$/;
const BARREL_NAMES = new Set(["index", "mod"]);

/** Height of each folder and root file; calls go down only. */
const FLOORS: ReadonlyMap<string, number> = new Map([
  ["lib", 0],
  ["core", 1],
  ["state", 2],
  ["upstream", 3],
  ["catalog", 4],
  ["gateway", 5],
  ["front", 6],
  ["api", 6],
  ["http.ts", 7],
  ["proxy.ts", 7],
  ["cli", 8],
  ["main.ts", 8],
]);

/** Beside the floors: what each may import, and whether only as types. `self` is always allowed. */
const ISLANDS: ReadonlyMap<
  string,
  { readonly values: readonly string[]; readonly types: "any" | readonly string[] }
> = new Map([
  ["mock", { values: ["lib", "core"], types: ["lib", "core"] }],
  ["scale", { values: ["lib", "mock"], types: "any" }],
  ["ui", { values: [], types: ["api", "core"] }],
]);

/** Who alone may import a package, whole or by a path below it. */
const PACKAGE_OWNERS: readonly { readonly match: RegExp; readonly owners: readonly string[] }[] = [
  { match: /^bun:sqlite$/, owners: ["state"] },
  { match: /^drizzle-orm(?:\/|$)/, owners: ["state"] },
  { match: /^@modelcontextprotocol\/client(?:\/|$)/, owners: ["upstream"] },
  { match: /^@modelcontextprotocol\/server(?:\/|$)/, owners: ["front", "mock"] },
  { match: /^@modelcontextprotocol\/sdk(?:\/|$)/, owners: [] },
  { match: /^@orama\//, owners: ["catalog"] },
  { match: /^hono(?:\/|$)/, owners: ["front", "api", "http.ts"] },
  { match: /^@hono\//, owners: ["front", "api", "http.ts"] },
  { match: /^(?:node:)?(?:child_process|cluster)$/, owners: ["lib"] },
];

const PROCESS_EDGE = ["cli", "main.ts"];

/** Who alone may touch a member of the globals `Bun` and `process`. */
const MEMBER_OWNERS: ReadonlyMap<string, readonly string[]> = new Map([
  ["Bun.serve", ["http.ts", "mock"]],
  ["Bun.spawn", ["lib"]],
  ["Bun.spawnSync", ["lib"]],
  ["Bun.$", ["lib"]],
  ["process.kill", ["lib"]],
  ["Bun.argv", PROCESS_EDGE],
  ["Bun.stdout", PROCESS_EDGE],
  ["process.argv", PROCESS_EDGE],
  ["process.stdout", PROCESS_EDGE],
  ["process.exit", PROCESS_EDGE],
  ["process.exitCode", PROCESS_EDGE],
]);

/** Modules whose exports are the members of a global. */
const GLOBAL_MODULES: ReadonlyMap<string, string> = new Map([
  ["bun", "Bun"],
  ["process", "process"],
  ["node:process", "process"],
]);

interface Import {
  readonly specifier: string | undefined;
  readonly isType: boolean;
  readonly line: number;
}

interface Module {
  readonly path: string;
  /** Folder below `src/`, or the file's name when it lies in `src/` itself. */
  readonly place: string;
  readonly text: string;
  readonly imports: readonly Import[];
  readonly members: readonly { readonly name: string; readonly line: number }[];
  readonly defaultExports: readonly number[];
  readonly syntaxErrors: readonly string[];
}

type Node = Readonly<Record<string, unknown>> & { readonly type: string; readonly start: number };

/** Applies every rule to the sources below `src/`; an empty list means the layout holds. */
export function checkLayout(sources: Sources): readonly Violation[] {
  const modules = [...sources]
    .filter(([path]) => CODE_FILE.test(path))
    .map(([path, text]) => readModule(path, text));
  return [
    ...[...sources.keys()].flatMap(checkPath),
    ...modules.flatMap((module) => [
      ...checkText(module),
      ...checkOwners(module),
      ...checkImports(module, sources),
    ]),
    ...checkCycles(modules),
  ];
}

function checkPath(path: string): readonly Violation[] {
  const found: Violation[] = [];
  const below = path.split("/").slice(1);
  const report = (rule: LayoutRule, message: string): void => {
    found.push({ rule, at: `${path}:1`, message });
  };
  if (below.length > 2) report("deep folder", "a folder is a floor: one level only");
  const place = below[0] ?? "";
  const isKnown = FLOORS.has(place) || (below.length > 1 && ISLANDS.has(place)) || place.endsWith(".d.ts");
  if (!isKnown) report("unknown place", `'${place}' is no floor of the house`);
  const stem = (below.at(-1) ?? "").split(".")[0] ?? "";
  const folders = below.slice(0, -1);
  if (![...folders, stem].every((name) => SNAKE_CASE.test(name))) report("file name", "names are snake_case");
  if (CODE_FILE.test(path) && BARREL_NAMES.has(stem)) report("file name", "no barrels: name the feature");
  return found;
}

function checkText(module: Module): readonly Violation[] {
  const found: Violation[] = [];
  const report = (rule: LayoutRule, line: number, message: string): void => {
    found.push({ rule, at: `${module.path}:${line}`, message });
  };
  const lines = module.text.split("\n").length - (module.text.endsWith("\n") ? 1 : 0);
  if (lines > MAX_LINES) report("size", lines, `${lines} lines; the cap is ${MAX_LINES}`);
  if (!/^(?:#![^\n]*\n)?\/\*\*\s*\n?\s*\*?\s*\S/.test(module.text)) report("header", 1, "no header comment");
  if (!module.path.endsWith(".d.ts")) {
    for (const line of module.defaultExports) report("default export", line, "exports are named");
  }
  for (const error of module.syntaxErrors) report("syntax", 1, error);
  return found;
}

function checkOwners(module: Module): readonly Violation[] {
  const found: Violation[] = [];
  const report = (line: number, name: string, owners: readonly string[]): void => {
    if (owners.includes(module.place)) return;
    const whose = owners.length === 0 ? "is for tests only" : `belongs to ${owners.join(", ")}`;
    found.push({ rule: "owner", at: `${module.path}:${line}`, message: `'${name}' ${whose}` });
  };
  for (const { specifier, line } of module.imports) {
    const owned = PACKAGE_OWNERS.find(({ match }) => specifier !== undefined && match.test(specifier));
    if (owned !== undefined && specifier !== undefined) report(line, specifier, owned.owners);
  }
  for (const { name, line } of module.members) {
    const owners = MEMBER_OWNERS.get(name);
    if (owners !== undefined) report(line, name, owners);
  }
  return found;
}

function checkImports(module: Module, sources: Sources): readonly Violation[] {
  const found: Violation[] = [];
  for (const { specifier, isType, line } of module.imports) {
    const at = `${module.path}:${line}`;
    if (specifier === undefined) {
      found.push({ rule: "import form", at, message: "a dynamic import names its module literally" });
      continue;
    }
    if (!specifier.startsWith(".")) continue;
    const target = posix.join(posix.dirname(module.path), specifier);
    if (isPageText(module.place, target)) continue;
    if (!target.startsWith("src/")) {
      if (CODE_FILE.test(target)) found.push({ rule: "upward", at, message: `'${target}' lies outside src` });
    } else if (sources.has(target)) {
      const broken = judgeImport(module.place, placeOf(target), isType);
      if (broken !== undefined) found.push({ ...broken, at });
    } else {
      found.push({ rule: "missing file", at, message: `'${target}' is not there; imports carry '.ts'` });
    }
  }
  return found;
}

/** The API sends pages as texts; code of them it may not run. */
function isPageText(place: string, target: string): boolean {
  return place === "api" && placeOf(target) === "ui" && !CODE_FILE.test(target);
}

function judgeImport(from: string, to: string, isType: boolean): Omit<Violation, "at"> | undefined {
  if (from === to) return undefined;
  const message = `'${from}' may not import ${isType ? "types of " : ""}'${to}'`;
  const island = ISLANDS.get(from);
  if (island !== undefined) {
    const allowed = isType && island.types === "any" ? [to] : isType ? island.types : island.values;
    return allowed.includes(to) ? undefined : { rule: "island", message };
  }
  const [own, other] = [FLOORS.get(from), FLOORS.get(to)];
  if (own === undefined) return undefined;
  if (other === undefined) return own === 8 ? undefined : { rule: "island", message };
  if (other > own) return { rule: "upward", message };
  return other === own && own === 6 ? { rule: "sideways", message } : undefined;
}

function checkCycles(modules: readonly Module[]): readonly Violation[] {
  const targets = new Map(
    modules.map(({ path, imports }) => [
      path,
      imports.flatMap(({ specifier }) =>
        specifier?.startsWith(".") === true ? [posix.join(posix.dirname(path), specifier)] : [],
      ),
    ]),
  );
  const found: Violation[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const from = trail.indexOf(path);
    if (from >= 0) {
      const message = [...trail.slice(from), path].join(" → ");
      found.push({ rule: "cycle", at: `${path}:1`, message });
    } else if (!done.has(path)) {
      for (const next of targets.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    }
  };
  for (const path of targets.keys()) visit(path, []);
  return found;
}

function placeOf(path: string): string {
  return path.split("/")[1] ?? "";
}

function readModule(path: string, text: string): Module {
  const { program, errors } = parseSync(path, text);
  const lineOf = (offset: number): number => text.slice(0, offset).split("\n").length;
  const imports: Import[] = [];
  const members: { name: string; line: number }[] = [];
  const defaultExports: number[] = [];
  walk(program, (node, hidden) => {
    if (isDefaultExport(node)) defaultExports.push(lineOf(node.start));
    const found = importOf(node);
    if (found !== undefined) imports.push({ ...found, line: lineOf(node.start) });
    for (const name of membersOf(node)) {
      if (!hidden.some((one) => name.startsWith(`${one}.`))) members.push({ name, line: lineOf(node.start) });
    }
  });
  return {
    path,
    place: placeOf(path),
    text,
    imports,
    members,
    defaultExports,
    syntaxErrors: errors.map(({ message }) => message),
  };
}

function importOf(node: Node): Omit<Import, "line"> | undefined {
  switch (node.type) {
    case "ImportDeclaration":
      return { specifier: literal(node["source"]), isType: node["importKind"] === "type" };
    case "ExportAllDeclaration":
      return { specifier: literal(node["source"]), isType: node["exportKind"] === "type" };
    case "ExportNamedDeclaration":
      if (!isNode(node["source"])) return undefined;
      return { specifier: literal(node["source"]), isType: node["exportKind"] === "type" };
    case "ImportExpression":
      return { specifier: literal(node["source"]), isType: false };
    case "TSImportType":
      return { specifier: literal(node["source"]), isType: true };
    case "TSExternalModuleReference":
      return { specifier: literal(node["expression"]), isType: false };
    case "CallExpression":
      if (identifier(node["callee"]) !== "require") return undefined;
      return { specifier: literal((node["arguments"] as readonly unknown[])[0]), isType: false };
    default:
      return undefined;
  }
}

function isDefaultExport(node: Node): boolean {
  if (node.type === "ExportSpecifier") return identifier(node["exported"]) === "default";
  return node.type === "ExportDefaultDeclaration" || node.type === "TSExportAssignment";
}

/** Which members of `Bun` and `process` a node touches: `a.b`, `a["b"]`, `const { b } = a`, `import { b } from`. */
function membersOf(node: Node): readonly string[] {
  if (node.type === "MemberExpression") {
    const owner = globalName(node["object"]);
    const key = node["computed"] === true ? literal(node["property"]) : identifier(node["property"]);
    return owner === undefined || key === undefined ? [] : [`${owner}.${key}`];
  }
  if (node.type === "VariableDeclarator" && isNode(node["id"]) && node["id"].type === "ObjectPattern") {
    const owner = globalName(node["init"]);
    const properties = nodesIn(node["id"]["properties"]);
    return owner === undefined ? [] : properties.map((property) => `${owner}.${identifier(property["key"])}`);
  }
  if (node.type === "ImportDeclaration") {
    const owner = GLOBAL_MODULES.get(literal(node["source"]) ?? "");
    const specifiers = nodesIn(node["specifiers"]);
    return owner === undefined ? [] : specifiers.map((one) => `${owner}.${identifier(one["imported"])}`);
  }
  return [];
}

/** `Bun`, `process`, or either behind `globalThis`. */
function globalName(value: unknown): string | undefined {
  if (!isNode(value)) return undefined;
  const isBehind = value.type === "MemberExpression" && identifier(value["object"]) === "globalThis";
  const name = identifier(isBehind ? value["property"] : value);
  return name === "Bun" || name === "process" ? name : undefined;
}

function identifier(value: unknown): string | undefined {
  return isNode(value) && value.type === "Identifier" ? String(value["name"]) : undefined;
}

function literal(value: unknown): string | undefined {
  return isNode(value) && typeof value["value"] === "string" ? value["value"] : undefined;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** Calls `visit` for each node of a syntax tree, parents first, with the local names that hide globals there. */
function walk(
  value: unknown,
  visit: (node: Node, hidden: readonly string[]) => void,
  hidden: readonly string[] = [],
): void {
  if (Array.isArray(value)) {
    for (const one of value) walk(one, visit, hidden);
  } else if (isNode(value)) {
    visit(value, hidden);
    const inner = [...hidden, ...localNames(value)];
    for (const child of Object.values(value)) walk(child, visit, inner);
  }
}

/** The parameters of a function and the variables of a block, unless one is the global itself. */
function localNames(node: Node): readonly string[] {
  const parameters = nodesIn(node["params"]).map((one) =>
    one.type === "AssignmentPattern" ? one["left"] : one,
  );
  const variables = nodesIn(node["body"]).flatMap((statement) => nodesIn(statement["declarations"]));
  const locals = variables.filter((one) => globalName(one["init"]) === undefined).map((one) => one["id"]);
  return [...parameters, ...locals].flatMap((one) => identifier(one) ?? []);
}

function nodesIn(value: unknown): readonly Node[] {
  return Array.isArray(value) ? value.filter(isNode) : [];
}
