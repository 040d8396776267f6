/**
 * Requests that nobody would send on purpose, for a route of the reference.
 *
 * Owns what is odd: names, numbers, texts that are no JSON, values of the wrong type, nesting; mixed with what fits, so that
 * it gets past the first check. Invariant: no address leads beyond this machine, and no command is one that exists.
 */
import fc from "fast-check";
import { openApiDocument } from "../../src/api/openapi.ts";
import { ROUTES } from "./judge.ts";

/** A request to send. */
export interface OddRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** With the token of an agent instead of the key. */
  readonly isByAgent: boolean;
}

type Schema = Readonly<Record<string, unknown>>;

/** What is there, so that some requests find it. */
const KNOWN = {
  servers: ["up", "off", "held", "lazy", "no/such äöü", "dead"],
  groups: ["1", "One", "two", "2", "One/Two"],
  tools: ["up:read", "up:wipe", "off:x", "held:x", "dead:x"],
  tokens: ["bot", "bot"],
  registries: ["reference", "official", "docker-mcp-catalog"],
} as const;

const NASTY = [
  "",
  " ",
  ".",
  "..",
  "../../etc/passwd",
  "/",
  "\\",
  "a/b",
  "a:b",
  "a__b",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "then",
  "hasOwnProperty",
  "null",
  "undefined",
  "NaN",
  "-1",
  "0",
  "1e999",
  "9007199254740993",
  "\0",
  "a\0b",
  "\n\r\t",
  "\u202E\uFEFF\u2028",
  "👩‍👩‍👧‍👦",
  "ünïcödé",
  "x".repeat(300),
  "x".repeat(5_000),
  "%",
  "%00",
  "%2e%2e",
  "*",
  "a,b,,c",
  "${env:HOME}",
  "${keyring:x}",
  "<img src=x onerror=alert(1)>",
  "'; DROP TABLE activity; --",
  "2026-01-01T00:00:00Z",
  "90s",
  "-5m",
  "999999999999h",
] as const;
const ADDRESSES = [
  "http://127.0.0.1:9/mcp",
  "http://u:p@127.0.0.1:9/?token=1",
  "ftp://127.0.0.1/",
  "nonsense",
  "",
];
const COMMANDS = ["no-such-command-of-mcpproxy", "/no/such/command", "a b", "", "\0"];
const NO_JSON = [
  "",
  " ",
  "{",
  "[",
  "nul",
  '{"a":1,}',
  "\uFEFF{}",
  "{}{}",
  '"text"',
  "1",
  "null",
  "[]",
  "\0",
  "{'a':1}",
];
const DEEP = 3_000;

const names = Object.values(KNOWN).flat();
const nastyText: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...NASTY) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
);
const anyText = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(...names) },
  { weight: 1, arbitrary: nastyText },
);
/** What a field is likely to mean, by its name. */
const HINTS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  action: fc.constantFrom("enable", "disable", "restart", "quarantine", "assign", "unassign"),
  allowed_groups: fc.constant(["One"]),
  allowed_servers: fc.constant(["*"]),
  arguments: fc.oneof(
    fc.record({ name: fc.constantFrom(...KNOWN.tools), args: fc.constantFrom({}, { a: 1 }, null, []) }),
    fc.record({ query: fc.constantFrom("read", "wipe") }),
    fc.record({ tool_ids: fc.constant(["up:read"]) }),
  ),
  expires_in: fc.constantFrom("1h", "30d"),
  format: fc.constantFrom("auto", "claude_desktop", "cursor", "vscode", "codex", "mcpproxy"),
  group: fc.constantFrom(...KNOWN.groups, 1, 2),
  group_name: fc.constantFrom("One", "Two"),
  groups: fc.constantFrom(["One"], [1]),
  name: fc.constantFrom(...KNOWN.servers, "bot2", "bot_3", "New", "one more"),
  parent: fc.constantFrom("One", 2, null),
  permissions: fc.constant(["read"]),
  text: fc.constantFrom(
    '{"mcpServers":{"x":{"command":"no-such-command"}}}',
    "[mcp_servers.y]\ncommand = 'no'\n",
  ),
  to: fc.constantFrom("One", "renamed", 2),
  verify: fc.constantFrom(undefined, undefined, false, true),
  lenient: fc.constantFrom(true, true, false),
  revision: fc.constantFrom(undefined, undefined, undefined, 1, 2),
  tool_name: fc.constantFrom(
    "call_tool_read",
    "call_tool_write",
    "retrieve_tools",
    "describe_tool",
    "read_cache",
  ),
};
const anyNumber = fc.oneof(
  fc.integer({ min: -2, max: 30 }),
  fc.constantFrom(0, -0, 1.5, -1, 2 ** 31, 2 ** 53, 1e21, 1e308, -1e308, 5e-324),
);
const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, [], {}, [null], [[]], { __proto__: null }),
  anyText,
  anyNumber,
  fc.jsonValue({ maxDepth: 3 }),
);

/** Keys of an entry, of a group and of the settings, each with values that fit and others. */
const entry = fc.record(
  {
    name: anyText,
    description: anyText,
    url: fc.constantFrom(...ADDRESSES),
    command: fc.constantFrom(...COMMANDS),
    args: fc.oneof(fc.array(nastyText, { maxLength: 3 }), anyValue),
    env: fc.oneof(fc.dictionary(nastyText, nastyText, { maxKeys: 3 }), anyValue),
    headers: fc.oneof(fc.dictionary(nastyText, nastyText, { maxKeys: 3 }), anyValue),
    protocol: fc.constantFrom("stdio", "http", "sse", "auto", "", "smtp"),
    startup_mode: fc.constantFrom("active", "lazy_loading", "disabled", "quarantined", "auto_disabled", "x"),
    enabled: fc.oneof(fc.boolean(), anyValue),
    quarantined: fc.oneof(fc.boolean(), anyValue),
    groups: fc.oneof(fc.array(anyText, { maxLength: 3 }), anyValue),
    group_id: anyNumber,
    tags: fc.oneof(fc.array(nastyText, { maxLength: 3 }), anyValue),
    connection_timeout: anyValue,
    working_dir: nastyText,
    id: anyNumber,
    parent: anyText,
    tools_limit: anyNumber,
    idle_disconnect: anyText,
    trusted_hosts: anyValue,
    mcpServers: anyValue,
    logging: anyValue,
    unknown_key: anyValue,
  },
  { requiredKeys: [] },
);
/** An entry that is taken, unless its name is. */
const plainEntry = fc.record(
  {
    name: fc.nat(1_000_000).map((number) => `New ${number}`),
    url: fc.constant("http://127.0.0.1:9/mcp"),
    startup_mode: fc.constantFrom("disabled", "active", "lazy_loading"),
    groups: fc.constantFrom(["One"], []),
    tags: fc.constantFrom(["a"], []),
  },
  { requiredKeys: ["name", "url"] },
);
const freeObject = fc.oneof(
  { weight: 2, arbitrary: plainEntry },
  { weight: 4, arbitrary: entry },
  { weight: 1, arbitrary: fc.dictionary(nastyText, anyValue, { maxKeys: 4 }) },
);

/** A message as MCP clients send them. */
const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "fuzz", version: "1" } },
};
const rpcMessage = fc
  .oneof(
    fc.constant(INITIALIZE),
    fc.record({
      jsonrpc: fc.constant("2.0"),
      id: fc.oneof(fc.nat(9), nastyText),
      method: fc.constantFrom("initialize", "tools/list", "tools/call", "ping", "prompts/list", "nonsense"),
      params: fc.oneof(
        fc.constantFrom({}, null, []),
        fc.record({ name: HINTS["tool_name"] ?? anyText, arguments: HINTS["arguments"] ?? anyValue }),
        anyValue,
      ),
    }),
  )
  .map((message) => JSON.stringify(message));
const MCP_HEADERS = { accept: "application/json, text/event-stream", "content-type": "application/json" };

/** Values that a schema takes, mostly. */
function fitting(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  const { $ref, anyOf, oneOf, enum: options, type } = schema;
  if (typeof $ref === "string") return fitting(named($ref), depth + 1);
  const either = (anyOf ?? oneOf) as readonly Schema[] | undefined;
  if (either !== undefined) return fc.oneof(...either.map((one) => fitting(one, depth + 1)));
  if ("const" in schema) return fc.constant(schema["const"]);
  if (Array.isArray(options)) return fc.constantFrom(...(options as readonly unknown[]));
  if (type === "string") return anyText;
  if (type === "integer" || type === "number") return anyNumber;
  if (type === "boolean") return fc.boolean();
  if (type === "array")
    return fc.array(fitting((schema["items"] ?? {}) as Schema, depth + 1), { maxLength: 4 });
  if (type !== "object") return anyValue;
  return fittingObject(schema, depth);
}

function fittingObject(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const properties = Object.entries((schema["properties"] ?? {}) as Readonly<Record<string, Schema>>);
  if (properties.length === 0) return freeObject;
  const arbitraries = Object.fromEntries(
    properties.map(([name, one]) => {
      const hint = HINTS[name];
      const arbitrary = fitting(one, depth + 1);
      return [
        name,
        hint === undefined ? arbitrary : fc.oneof({ weight: 4, arbitrary: hint }, { weight: 1, arbitrary }),
      ];
    }),
  );
  const required = (schema["required"] ?? []) as string[];
  const own = fc.record(arbitraries, { requiredKeys: required });
  const isClosed = schema["additionalProperties"] === false;
  return isClosed
    ? own
    : fc
        .tuple(freeObject, own, fc.boolean())
        .map(
          ([free, fields, isFree]) =>
            Object.assign({}, ...(isFree ? [fields, free] : [free, fields])) as object,
        );
}

function named(ref: string): Schema {
  const { schemas } = openApiDocument()["components"] as {
    readonly schemas: Readonly<Record<string, Schema>>;
  };
  return schemas[ref.slice(ref.lastIndexOf("/") + 1)] ?? {};
}

/** A body that fits, one with a field of another type, or anything at all. */
function bodyOf(schema: Schema, { id: ids }: Found): fc.Arbitrary<string> {
  const asked = schema["required"];
  const isById = Array.isArray(asked) && asked.includes("id") && ids !== undefined;
  const fits = isById
    ? fc.oneof(fitting(schema), fc.record({ id: fc.constantFrom(...ids), approve: fc.boolean() }))
    : fitting(schema);
  const spoilt = fc.tuple(fits, fc.nat(20), anyValue).map(([body, at, value]) => {
    if (typeof body !== "object" || body === null || Array.isArray(body)) return value;
    const keys = Object.keys(body);
    const key = keys[at % Math.max(1, keys.length)] ?? "name";
    return { ...body, [key]: value };
  });
  return fc.oneof(
    { weight: 6, arbitrary: fits.map((body) => JSON.stringify(body) ?? "") },
    { weight: 3, arbitrary: spoilt.map((body) => JSON.stringify(body) ?? "") },
    { weight: 1, arbitrary: anyValue.map((body) => JSON.stringify(body) ?? "") },
    { weight: 1, arbitrary: fc.constantFrom(...NO_JSON) },
    {
      weight: 1,
      arbitrary: fits.map((body) => `{"__proto__":{"x":1},${(JSON.stringify(body) ?? "{}").slice(1)}`),
    },
    { weight: 1, arbitrary: fc.constantFrom("[".repeat(DEEP) + "]".repeat(DEEP), nested(DEEP)) },
  );
}

function nested(depth: number): string {
  return `${'{"name":'.repeat(depth)}1${"}".repeat(depth)}`;
}

/** A segment of the path; some are not encoded as they should be. */
function segmentOf(name: string, found: Found): fc.Arbitrary<string> {
  const all: Readonly<Record<string, readonly string[]>> = {
    file: ["page.js", "reference.css", "__proto__.js"],
    group: KNOWN.groups,
    name: [...KNOWN.servers, ...KNOWN.tokens],
    server: ["time", "fetch", "nothing"],
    slug: ["one", "two"],
    ...found,
  };
  const wanted = all[name] ?? KNOWN.servers;
  return fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...wanted).map(encoded) },
    { weight: 3, arbitrary: nastyText.map(encoded) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("%", "%ff", "%zz", "%E0%A4%A", "%c0%ae", "%2F%2F", "a+b", "a;b=c"),
    },
  );
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** Parameters of the query, in part others than the reference knows, in part twice. */
function queryOf(
  parameters: readonly (readonly [name: string, schema: Schema])[],
  found: Found,
): fc.Arbitrary<string> {
  if (parameters.length === 0) return fc.constantFrom("", "", "?", "?x=1", "?%ff=%ff", "?__proto__=1");
  const one = fc
    .constantFrom(...parameters)
    .chain(([name, schema]) =>
      fc
        .oneof(
          { weight: 3, arbitrary: fitting(schema).map(String) },
          { weight: 2, arbitrary: anyText },
          { weight: 3, arbitrary: fc.constantFrom(...(found[name] ?? names)) },
        )
        .map((value) => `${name}=${encoded(value)}`),
    );
  return fc.array(one, { maxLength: 4 }).map((parts) => (parts.length === 0 ? "" : `?${parts.join("&")}`));
}

const headers: fc.Arbitrary<Readonly<Record<string, string>>> = fc.record(
  {
    "content-type": fc.constantFrom(
      "application/json",
      "text/plain",
      "application/x-www-form-urlencoded",
      "x",
    ),
    accept: fc.constantFrom("*/*", "application/json, text/event-stream", "text/html", "", "x/y;q=9"),
    "x-request-id": fc.constantFrom("plain-id", "a b", "x".repeat(200), "<script>", "\u00ff"),
    "if-match": fc.constantFrom('"1"', "*", "nonsense", '"99999999999999999999"'),
    "last-event-id": fc.constantFrom("0", "1", "-1", "nonsense", "99999999999999999999"),
    "mcp-session-id": fc.constantFrom("unknown", ""),
    "mcp-protocol-version": fc.constantFrom("2025-06-18", "2026-07-28", "1999-01-01"),
    traceparent: fc.constantFrom("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "nonsense"),
  },
  { requiredKeys: [] },
);

/** What is there by a name of a parameter, ids above all. */
export type Found = Readonly<Record<string, readonly string[]>>;

/** Odd requests for a route. */
export function oddRequests(route: string, found: Found): fc.Arbitrary<OddRequest> {
  const [method = "GET", path = ""] = route.split(" ");
  const address = path.replaceAll(/:(\w+)/g, "{$1}");
  const paths = openApiDocument()["paths"] as Readonly<Record<string, Readonly<Record<string, Schema>>>>;
  const operation = paths[address]?.[method.toLowerCase()] ?? {};
  const parameters = (operation["parameters"] ?? []) as readonly {
    readonly name: string;
    readonly in: string;
    readonly schema: Schema;
  }[];
  const queried = parameters
    .filter((one) => one.in === "query")
    .map((one) => [one.name, one.schema] as const);
  const segments = path
    .split("/")
    .map((part) => (part.startsWith(":") ? segmentOf(part.slice(1), found) : fc.constant(part)));
  const schema = schemaOfBody(operation);
  const hasBody = ROUTES[route]?.body !== undefined && schema !== undefined;
  const isMcp = path.startsWith("/mcp");
  const body = isMcp
    ? fc.oneof({ weight: 3, arbitrary: rpcMessage }, { weight: 1, arbitrary: bodyOf(schema ?? {}, found) })
    : hasBody
      ? bodyOf(schema, found)
      : fc.constantFrom(undefined, undefined, "{}", "x");
  return fc
    .tuple(fc.tuple(...segments), queryOf(queried, found), headers, body, fc.nat(9))
    .map(([parts, query, given, text, chance]) => ({
      method,
      path: `${parts.join("/")}${query}`,
      headers: isMcp && chance % 2 === 0 ? MCP_HEADERS : given,
      isByAgent: chance > 7,
      ...(text === undefined || method === "GET" ? {} : { body: text }),
    }));
}

function schemaOfBody(operation: Schema): Schema | undefined {
  const { content } = (operation["requestBody"] ?? {}) as {
    readonly content?: Readonly<Record<string, Schema>>;
  };
  return content?.["application/json"]?.["schema"] as Schema | undefined;
}
