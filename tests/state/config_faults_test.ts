/**
 * Broken configurations, each with the one place, key, message and advice it must get.
 *
 * Owns the table. The sign `¦` marks where the fault must be found and is taken out before reading, so that
 * line and column are counted by the test and not copied from the code.
 */
import { expect, test } from "bun:test";
import { ProxyError } from "../../src/core/errors.ts";
import { faultsOf, formatFaults, parseConfig } from "../../src/state/config.ts";
import type { Fault } from "../../src/core/model.ts";

const FILE = "/etc/mcpproxy/mcp_config.json";

interface Broken {
  readonly name: string;
  readonly text: string;
  readonly key: string;
  readonly says: string;
  readonly advises: string;
  /** The server that has the fault; absent: it stops the whole file. */
  readonly server?: string;
}

const row = (
  name: string,
  text: string,
  key: string,
  says: string,
  advises: string,
  server?: string,
): Broken => ({
  name,
  text,
  key,
  says,
  advises,
  ...(server !== undefined && { server }),
});

/** A row about the only server, named `s`. */
const own = (name: string, entry: string, key: string, says: string, advises: string): Broken =>
  row(
    name,
    `{\n  "mcpServers": [\n    {"name": "s", ${entry}}\n  ]\n}`,
    key === "" ? "mcpServers[0]" : `mcpServers[0].${key}`,
    says,
    advises,
    "s",
  );

const at = (entry: string, key: string, says: string, advises: string, server = "mcpServers[0]"): Broken =>
  row(`entry ${entry}`, `{"mcpServers": [${entry}]}`, key, says, advises, server);

const SYNTAX: readonly Broken[] = [
  row("empty", "¦", "(top level)", "empty", "mcpServers"),
  row("only blanks", "¦ \n\n ", "(top level)", "empty", "default one"),
  row("only a comment", "¦// nothing", "(top level)", "empty", "mcpServers"),
  row("missing comma", '{\n  "listen": ":1"\n  ¦"tools_limit": 5\n}', "listen", "','", "comma"),
  row(
    "missing comma between servers",
    '{"mcpServers": [{"name": "a"}\n¦{"name": "b"}]}',
    "mcpServers[0]",
    "','",
    "comma",
  ),
  row("double comma", '{"listen": ":1",¦, "tools_limit": 5}', "(top level)", "Expected a key", "extra comma"),
  row(
    "double comma in array",
    '{"trusted_hosts": ["a",¦,"b"]}',
    "trusted_hosts[1]",
    "Expected a value",
    "value",
  ),
  row("missing colon", '{"listen" ¦":1"}', "listen", "':'", "between the key"),
  row("equals sign", '{"listen"¦= ":1"}', "listen", "':'", "between the key"),
  row("semicolon", '{"listen": ":1"¦; "tools_limit": 5}', "listen", "';'", "','"),
  row("missing value", '{"listen": ¦}', "listen", "Expected a value", "value"),
  row("bare key", '{¦listen: ":1"}', "(top level)", "no double quotes", "double quotes"),
  row("bare value", '{"listen": ¦localhost}', "listen", "no double quotes", "double quotes"),
  row("single quotes", "{\"listen\": ¦':1'}", "listen", "other quotes", "double quotes"),
  row("typographic quotes", '{"listen": ¦“:1”}', "listen", "other quotes", "double quotes"),
  row("Python literal", '{"read_only_mode": ¦True}', "read_only_mode", "'True'", "true"),
  row("Python None", '{"mcpServers": [{"args": ¦None}]}', "mcpServers[0].args", "'None'", "null"),
  row("leading zero", '{"tools_limit": ¦015}', "tools_limit", "malformed", "42"),
  row("Windows path", '{"data_dir": "C:¦\\Users"}', "data_dir", "escape '\\U'", "\\\\"),
  row("bad unicode escape", '{"data_dir": "¦\\u12x4"}', "data_dir", "four hex digits", "backslash"),
  row("tab in string", '{"data_dir": "a¦\tb"}', "data_dir", "U+0009", "\\t"),
  row("open string", '{\n"listen": ¦":1,\n"tools_limit": 5\n}', "listen", "closing quote", "same line"),
  row("open object", '{\n"logging": {"level": "info"}\n¦', "(top level)", "opened at line 1", "'}'"),
  row("open array", '{"mcpServers": [\n{"name": "a"},¦', "mcpServers", "opened at line 1", "']'"),
  row("wrong bracket", '{"mcpServers": [\n{"name": "a"}\n¦}', "mcpServers", "ends with '}'", "']'"),
  row("open comment", '{"listen": ":1"} ¦/* never', "(top level)", "comment is not closed", "*/"),
  row("hash comment", '{\n¦# mine\n"listen": ":1"}', "(top level)", "'#'", "//"),
  row(
    "merge conflict",
    '{\n¦<<<<<<< HEAD\n"listen": ":1"}',
    "(top level)",
    "merge conflict",
    "keep one side",
  ),
  row("two documents", '{"listen": ":1"}\n¦{}', "(top level)", "follows the end", "one value"),
  row("extra bracket", '{"listen": ":1"}¦}', "(top level)", "follows the end", "closing bracket"),
  row("no-break space", '{"listen":¦\u00a0":1"}', "listen", "U+00A0", "space"),
  row("NUL", '{"listen": "a¦\u0000"}', "listen", "NUL", "UTF-8"),
  row("UTF-16 without mark", '{¦\u0000"\u0000a\u0000', "(top level)", "NUL", "UTF-8"),
  row(
    "bare key before an object",
    '{¦a: {"b": 1, "c": 2}, "d": 3}',
    "(top level)",
    "no double quotes",
    "quotes",
  ),
  row("missing colon before an object", '{"a" ¦{"b": 1, "c": 2}, "d": 3}', "a", "':'", "between the key"),
  row("other quotes over commas", '{"a": ¦\'b, c\', "d": [1]}', "a", "other quotes", "double quotes"),
  row("hexadecimal number", '{"tools_limit": ¦0x1F}', "tools_limit", "malformed", "42"),
  row("number with two dots", '{"x": [¦1.2.3, 5]}', "x[0]", "malformed", "42"),
  row("cut in a value", '{"listen":¦', "listen", "got the end of the file", "value"),
  row("list as object", '{"x": {"--token"¦}}', "x", "':'", "between the key"),
  row("BOM and fault", '\uFEFF{"listen": ¦x}', "listen", "no double quotes", "double quotes"),
  row("CRLF", '{\r\n  // x\r\n  "listen": ¦x\r\n}', "listen", "no double quotes", "double quotes"),
  row("old Mac line ends", '{\r  "listen": ¦x\r}', "listen", "no double quotes", "double quotes"),
  row("umlauts and emoji before", '{"ä": "🙂", "listen": ¦x}', "listen", "no double quotes", "double quotes"),
  row(
    "10,000 levels",
    `{"x": ${"[".repeat(99)}¦${"[".repeat(9901)}`,
    `x${"[0]".repeat(99)}`,
    "deeper than 100",
    "Remove levels",
  ),
];

const TOP_LEVEL: readonly Broken[] = [
  row("array", "¦[]", "(top level)", "got an array", "mcpServers"),
  row("text", '¦"x"', "(top level)", "got a string", "mcpServers"),
  row("null", "¦null", "(top level)", "got null", "mcpServers"),
  row("text as number", '{"tools_limit": ¦"15"}', "tools_limit", "whole number", "without quotes"),
  row("fraction", '{"tools_limit": ¦1.5}', "tools_limit", "got 1.5", "whole number"),
  row("too small", '{"tools_limit": ¦0}', "tools_limit", "at least 1", "at least 1"),
  row("number as text", '{"listen": ¦8080}', "listen", "got a number", "127.0.0.1:8080"),
  row("listen without port", '{"listen": ¦"localhost"}', "listen", "host:port", "127.0.0.1:8080"),
  row("port too large", '{"listen": ¦":70000"}', "listen", "70000", "127.0.0.1:8080"),
  row("text as switch", '{"read_only_mode": ¦"yes"}', "read_only_mode", "true or false", "without quotes"),
  row("number as duration", '{"call_tool_timeout": ¦120}', "call_tool_timeout", "number 120", '"120s"'),
  row("no duration", '{"connection_timeout": ¦"1 minute"}', "connection_timeout", '"1 minute"', "2m0s"),
  row("negative duration", '{"queue_timeout": ¦"-5s"}', "queue_timeout", '"-5s"', "90s"),
  row("duration past all bounds", '{"queue_timeout": ¦"99999999h"}', "queue_timeout", "duration", "90s"),
  row("unknown choice", '{"routing_mode": ¦"fast"}', "routing_mode", '"fast"', '"direct"'),
  row("list expected", '{"trusted_hosts": ¦"a"}', "trusted_hosts", "array of strings", "list"),
  row("list item", '{"trusted_hosts": ["a", ¦5]}', "trusted_hosts[1]", "got a number", "double quotes"),
  row("section expected", '{"logging": ¦"debug"}', "logging", "an object", "{"),
  row("in a section", '{"logging": {\n"level": ¦"loud"}}', "logging.level", '"loud"', '"debug"'),
  row(
    "two levels down",
    '{"supervision": {"start_patience": {"http": ¦250}}}',
    "supervision.start_patience.http",
    "number 250",
    '"250ms"',
  ),
  row(
    "custom variable",
    '{"environment": {"custom_vars": {"A B": ¦5}}}',
    'environment.custom_vars["A B"]',
    "a string",
    "double quotes",
  ),
  row("group without name", '{"groups": [¦{"id": 1}]}', "groups[0].name", "got nothing", "double quotes"),
  row("retention", '{"activity": {"retention": ¦"a month"}}', "activity.retention", "period", "30d"),
  row("servers as text", '{"mcpServers": ¦"x"}', "mcpServers", "array of servers", "{}"),
  row("doubled key", '{\n"tools_limit": 5,\n¦"tools_limit": 6}', "tools_limit", "line 2", "one of the two"),
  row(
    "doubled mcpServers",
    '{"mcpServers": [],\n¦"mcpServers": [{"name": "a"}]}',
    "mcpServers",
    "line 1",
    "one of the two",
  ),
];

const SERVER: readonly Broken[] = [
  own("command as array", '"command": ¦["npx", "-y"]', "command", "got an array", "double quotes"),
  own("args as text", '"command": "x", "args": ¦"-y"', "args", "array of strings", '["first"'),
  own("arg as number", '"command": "x", "args": ["-p", ¦80]', "args[1]", "got a number", "double quotes"),
  own(
    "variable as number",
    '"command": "x", "env": {"PORT": ¦80}',
    "env.PORT",
    "got a number",
    "double quotes",
  ),
  own("variable as null", '"command": "x", "env": {"A": ¦null}', "env.A", "got null", "double quotes"),
  own(
    "variable __proto__",
    '"command": "x", "env": {"__proto__": ¦5}',
    "env.__proto__",
    "a string",
    "double quotes",
  ),
  own("command with NUL", '"command": ¦"x\\u0000"', "command", "NUL", "Remove"),
  own("argument with NUL", '"command": "x", "args": ["-p", ¦"\\u0000"]', "args[1]", "NUL", "Remove"),
  own("variable with NUL", '"command": "x", "env": {"A": ¦"\\u0000"}', "env.A", "NUL", "Remove"),
  own("variable with '='", '"command": "x", "env": {"A=B": ¦"1"}', 'env["A=B"]', "variable", "'='"),
  own("variable without name", '"command": "x", "env": {"": ¦"1"}', 'env[""]', "variable", "one character"),
  own("header with blank", '"url": "http://x", "headers": {"A b": ¦"1"}', 'headers["A b"]', "header", "'-'"),
  own(
    "header of two lines",
    '"url": "http://x", "headers": {"A": ¦"1\\r\\nB: 2"}',
    "headers.A",
    "no header",
    "line",
  ),
  own("header with a euro", '"url": "http://x", "headers": {"A": ¦"€"}', "headers.A", "no header", "Latin-1"),
  own("env as list", '"command": "x", "env": ¦["A=1"]', "env", "object of strings", '{"NAME"'),
  own(
    "header as object",
    '"url": "http://x", "headers": {"X-A": ¦{}}',
    "headers.X-A",
    "got an object",
    "double quotes",
  ),
  own("switch as text", '"command": "x", "enabled": ¦"false"', "enabled", "true or false", "without quotes"),
  own(
    "unknown mode",
    '"command": "x", "startup_mode": ¦"quarentined"',
    "startup_mode",
    '"quarentined"',
    '"quarantined"',
  ),
  own("unknown protocol", '"command": "x", "protocol": ¦"grpc"', "protocol", '"grpc"', '"stdio"'),
  own("number as duration", '"command": "x", "call_timeout": ¦90', "call_timeout", "number 90", '"90s"'),
  own(
    "threshold too small",
    '"command": "x", "auto_disable_threshold": ¦-2',
    "auto_disable_threshold",
    "got -2",
    "at least -1",
  ),
  own("group id as text", '"command": "x", "group_id": ¦"1"', "group_id", "whole number", "without quotes"),
  own("group as object", '"command": "x", "groups": [¦{}]', "groups[0]", "name or an id", "double quotes"),
  own("relative url", '"url": ¦"/mcp"', "url", "not a complete address", "https://"),
  own("url of another scheme", '"url": ¦"ftp://x/mcp"', "url", "'ftp:'", "https://"),
  own("bad port in url", '"url": ¦"http://x:99999/"', "url", "not a complete address", "https://"),
  own("doubled key", '"command": "x",\n¦"command": "y"', "command", "line 3", "one of the two"),
  own(
    "doubled variable",
    '"command": "x", "env": {"A": "1", ¦"A": "2"}',
    "env.A",
    "line 3",
    "one of the two",
  ),
  row(
    "stdio without command",
    '{"mcpServers": [¦{"name": "s", "protocol": "stdio", "url": "http://x"}]}',
    "mcpServers[0]",
    "no command",
    '"http"',
    "s",
  ),
  row(
    "http without url",
    '{"mcpServers": [¦{"name": "s", "protocol": "http", "command": "x"}]}',
    "mcpServers[0]",
    "no url",
    '"stdio"',
    "s",
  ),
  row(
    "sse with empty url",
    '{"mcpServers": [¦{"name": "s", "protocol": "sse", "url": ""}]}',
    "mcpServers[0]",
    "no url",
    "url",
    "s",
  ),
  row(
    "neither",
    '{"mcpServers": [\n¦{"name": "s"}]}',
    "mcpServers[0]",
    "neither a command nor a url",
    '"command" or "url"',
    "s",
  ),
  row(
    "misspelt command",
    '{"mcpServers": [¦{"name": "s", "comand": "x"}]}',
    "mcpServers[0]",
    "neither",
    "Rename 'comand' to 'command'",
    "s",
  ),
  at('¦{"command": "x"}', "mcpServers[0]", "no name", '"name"'),
  at('{"name": ¦"", "command": "x"}', "mcpServers[0].name", "empty", "1 to 128"),
  at('{"name": ¦5, "command": "x"}', "mcpServers[0].name", "got a number", "double quotes"),
  at('{"name": ¦null, "command": "x"}', "mcpServers[0].name", "no name", '"name"'),
  at('{"name": ¦"..", "command": "x"}', "mcpServers[0].name", "no address", "letter"),
  at('{"name": ¦"a:b", "command": "x"}', "mcpServers[0].name", "holds ':'", "'-'"),
  at('{"name": ¦"a__b", "command": "x"}', "mcpServers[0].name", "holds '__'", "'_'"),
  at('{"name": ¦"a\\u001b[31m", "command": "x"}', "mcpServers[0].name", "control character", "Remove"),
  at(`{"name": ¦"${"x".repeat(300)}", "command": "x"}`, "mcpServers[0].name", "300 characters", "128"),
  at("¦null", "mcpServers[0]", "got null", "command"),
  at("¦[]", "mcpServers[0]", "got an array", "command"),
  row(
    "map: bad name",
    '{"mcpServers": {\n¦"a:b": {"command": "x"}}}',
    'mcpServers["a:b"]',
    "holds ':'",
    "'-'",
    "mcpServers[0]",
  ),
  row(
    "map: empty name",
    '{"mcpServers": {¦"": {"command": "x"}}}',
    'mcpServers[""]',
    "empty",
    "1 to 128",
    "mcpServers[0]",
  ),
  row(
    "map: __proto__",
    '{"mcpServers": {¦"__proto__": {"command": "x"}}}',
    "mcpServers.__proto__",
    "'__'",
    "'_'",
    "mcpServers[0]",
  ),
  row("map: no object", '{"mcpServers": {"a": ¦"npx"}}', "mcpServers.a", "got a string", "command", "a"),
  row(
    "map: in an entry",
    '{"mcpServers": {"my a": {"command": "x", "args": [¦true]}}}',
    'mcpServers["my a"].args[0]',
    "got a boolean",
    "double quotes",
    "my a",
  ),
  row(
    "map: missing command",
    '{"mcpServers": {"a": {"command": "x"}, "b": ¦{}}}',
    "mcpServers.b",
    "neither",
    "command",
    "b",
  ),
];

const ALL = [...SYNTAX, ...TOP_LEVEL, ...SERVER];

function unmark(text: string): { readonly text: string; readonly line: number; readonly column: number } {
  const [before = "", after = ""] = text.split("¦");
  const lines = before.replace("\uFEFF", "").split(/\r\n|\r|\n/);
  return { text: before + after, line: lines.length, column: (lines.at(-1) ?? "").length + 1 };
}

function read(text: string): { readonly faults: readonly Fault[]; readonly isStopped: boolean } {
  try {
    return { faults: parseConfig(text, { path: FILE, home: "/home/u" }).faults, isStopped: false };
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== "CONFIG_INVALID") throw error;
    expect(error.message).toContain(FILE);
    return { faults: faultsOf(error), isStopped: true };
  }
}

test("the table holds at least 100 broken configurations, each once", () => {
  expect(ALL.length).toBeGreaterThanOrEqual(100);
  expect(new Set(ALL.map(({ text }) => text)).size).toBe(ALL.length);
});

test.each(ALL.map((broken) => [broken.name, broken] as const))(
  "parseConfig() places the fault: %s",
  (_, broken) => {
    const { text, line, column } = unmark(broken.text);
    const { faults, isStopped } = read(text);
    expect(isStopped).toBe(broken.server === undefined);
    expect(faults).toHaveLength(1);
    const [fault] = faults;
    expect({
      file: fault?.file,
      line: fault?.line,
      column: fault?.column,
      key: fault?.key,
      server: fault?.server,
    }).toEqual({
      file: FILE,
      line,
      column,
      key: broken.key,
      server: broken.server,
    });
    expect(fault?.message).toContain(broken.says);
    expect(fault?.advice).toContain(broken.advises);
    expect(`${fault?.message} ${fault?.advice}`).not.toMatch(/\.$/);
  },
);

test("parseConfig() tells all faults of a file at once, in order", () => {
  const text =
    '{\n"tools_limit": "x",\n"mcpServers": [{"name": "a", "command": 1}],\n"listen": 5,\n"logging": {"level": 1, "max_age": "x"}}';
  const { faults, isStopped } = read(text);
  expect(isStopped).toBe(true);
  expect(faults.map(({ line, key }) => [line, key])).toEqual([
    [2, "tools_limit"],
    [3, "mcpServers[0].command"],
    [4, "listen"],
    [5, "logging.level"],
    [5, "logging.max_age"],
  ]);
});

test("parseConfig() tells several syntax faults at once, twenty at most", () => {
  expect(read('{"a": True,\n"b": x,\n"c": "\\q",\n"d": [01],\nc: 1}').faults.map(({ line }) => line)).toEqual(
    [1, 2, 3, 4, 5],
  );
  expect(read(`{"a": [${"x,".repeat(5000)}]}`).faults).toHaveLength(20);
});

test("parseConfig() names a variable whose value does not fit", () => {
  for (const [name, value] of [
    ["MCPPROXY_TOOLS_LIMIT", "many"],
    ["MCPPROXY_LISTEN", "x"],
    ["MCPPROXY_LOG_LEVEL", "loud"],
    ["MCPPROXY_CALL_TOOL_TIMEOUT", "5"],
  ] as const) {
    let caught: unknown;
    try {
      parseConfig("{}", { path: FILE, home: "/h", env: { [name]: value } });
    } catch (error) {
      caught = error;
    }
    expect(faultsOf(caught)).toMatchObject([{ file: "environment", key: name }]);
  }
});

test("formatFaults() writes one line a fault and no control characters", () => {
  const fault: Fault = {
    file: "/a\u001b[2J",
    line: 1,
    column: 2,
    key: "k\n",
    message: "m\u0085\u202e",
    advice: "a\r\n",
  };
  expect(formatFaults([fault, { ...fault, file: "/b" }])).toBe(
    "/a [2J:1:2 k : m   — a \n/b:1:2 k : m   — a ",
  );
});
