/**
 * The Go proxy's commands in the table of what the command line understands.
 *
 * Owns their words, flags and what they are for. Invariant: a command line that worked with the Go proxy is read here
 * as it was there; what a flag means no more is said to have no effect. Making them aliases of our own commands was
 * rejected: words, letters and answers differ, and scripts hold them.
 */

const ONE_OR_ALL = [
  "-s, --server SERVER | the server, where it is not the first word",
  "--all | all servers",
] as const;
const SURE = ["--force | do not ask before all are switched", "-y, --yes | as --force"] as const;
const WAIT = [
  "-w, --wait | until it is connected or has failed; exit 1 when it has",
  "--timeout TIME | how long to wait, as in 90s (default 2m)",
] as const;
const DEFINITION = [
  "--header NAME:VALUE… | with every request",
  "--env KEY=VALUE… | in the environment of its process",
] as const;
const ADDING = [
  "--if-not-exists | a server that is there already is no failure",
  "--no-quarantine | approve it at once; else it is quarantined until then",
] as const;
const ACTIVITY_FILTERS = [
  "-t, --type TYPE | of these types, parted by commas, as in tool_call",
  "-s, --server SERVER | of this server",
  "--tool TOOL | of this tool, as SERVER:TOOL or by its name",
  "--status STATUS | success, error or blocked",
  "--intent-type INTENT | read, write or destructive",
  "--request-id ID | what this request did",
  "--session ID | what this session did",
  "--since TIME | what is later, or so long ago, as in 90m",
  "--start-time TIME | what is later",
  "--end-time TIME | what is earlier",
] as const;
const NO_ICONS = "--no-icons | without effect: there are none";
const CALL = {
  flags: [
    "-t, --tool-name TOOL | the tool, as SERVER:TOOL",
    "-j, --json_args JSON | its arguments (default {})",
    "--json-args JSON | as --json_args",
    "--reason TEXT | why, for the record",
    "--sensitivity KIND | how sensitive the data is, for the record",
    "--timeout TIME | give up after so long, as in 30s (default: the proxy's)",
  ],
} as const;
const TOKEN_NAME = { words: "NAME" } as const;

/** Its nouns. */
export const GO_NOUNS = {
  upstream: { heading: "As the Go proxy has it", summary: "list, add, remove and switch servers" },
  call: { heading: "As the Go proxy has it", summary: "call a tool" },
  activity: { heading: "As the Go proxy has it", summary: "what was done, by whom, and what came of it" },
  registry: { heading: "As the Go proxy has it", summary: "find servers in registries, and add them" },
  "search-servers": { heading: "As the Go proxy has it", summary: "find servers in a registry" },
  token: { heading: "As the Go proxy has it", summary: "tokens for agents, with less than the key" },
} as const;

/** Its commands by their full name. */
export const GO_COMMANDS = {
  "upstream list": {
    summary: "all servers; without a proxy, what the file says of them",
    examples: ["upstream list", "upstream list -o json | jq -r '.[] | select(.connected) | .name'"],
  },
  "upstream add": {
    summary: "add a server, also while no proxy runs",
    words: "NAME [URL] [-- COMMAND [ARG…]]",
    flags: [
      ...DEFINITION,
      "--working-dir DIR | where its process runs",
      "--transport TRANSPORT | http, streamable-http, sse or stdio (default: found out)",
      ...ADDING,
    ],
    examples: [
      `upstream add docs https://docs.example/mcp --header "Authorization: Bearer TOKEN"`,
      "upstream add files --env LOG=debug -- npx -y server-files ~/docs",
    ],
  },
  "upstream add-json": {
    summary: "add a server by its entry as in the file",
    words: "NAME ENTRY",
    flags: [...ADDING],
    examples: [`upstream add-json db '{"command": "uvx", "args": ["mcp-server-sqlite"]}'`],
  },
  "upstream patch": {
    summary: "change headers and environment of a server; the others stay",
    words: "NAME",
    flags: [
      ...DEFINITION,
      "--header-remove NAME… | without this header",
      "--env-remove KEY… | without this variable",
      "--init-timeout TIME | how long connecting may take, as in 3m",
      "--no-quarantine | approve what is started by it; else it is quarantined",
    ],
    examples: [`upstream patch docs --header "Authorization: Bearer NEW" --header-remove X-Old`],
  },
  "upstream remove": {
    summary: "remove a server, also while no proxy runs",
    words: "NAME",
    flags: ["-y, --yes | do not ask", "--if-exists | one that is not there is no failure"],
    examples: ["upstream remove docs --yes --if-exists"],
  },
  "upstream inspect": {
    summary: "all about a server, and its tools",
    words: "NAME",
    flags: ["--tool TOOL | this tool only, with its schema"],
    examples: ["upstream inspect docs", "upstream inspect docs --tool search -o yaml"],
  },
  "upstream approve": {
    summary: "let a server out of quarantine, also while no proxy runs",
    words: "NAME [TOOL…]",
    flags: [...WAIT],
    examples: ["upstream approve docs", "upstream approve docs --wait"],
    note: "A server is approved as a whole, with what it starts; tools cannot be named.",
  },
  "upstream import": {
    summary: "take over the servers of a client's file, quarantined",
    words: "FILE",
    flags: [
      "-s, --server NAME | only this one",
      "--format FORM | what the file is, as in claude-desktop (default: found out)",
      "--dry-run | tell what it would do, and do nothing",
    ],
    examples: ["upstream import ~/.cursor/mcp.json --dry-run"],
  },
  "upstream enable": {
    summary: "enable a server, also while no proxy runs",
    words: "[NAME]",
    flags: [...ONE_OR_ALL, ...SURE, ...WAIT],
    examples: ["upstream enable docs", "upstream enable --all --force"],
  },
  "upstream disable": {
    summary: "disable a server, also while no proxy runs",
    words: "[NAME]",
    flags: [...ONE_OR_ALL, ...SURE],
    examples: ["upstream disable --server docs", "upstream disable --all --force"],
  },
  "upstream restart": {
    summary: "connect a server anew",
    words: "[NAME]",
    flags: [...ONE_OR_ALL, ...WAIT],
    examples: ["upstream restart docs", "upstream restart --all"],
  },
  "upstream logs": {
    summary: "what a server writes to stderr",
    words: "[NAME]",
    flags: [
      "-s, --server SERVER | the server, where it is not the first word",
      "-n, --tail N | the last N lines (default 50)",
      "-f, --follow | go on with what is new",
    ],
    examples: ["upstream logs docs --tail 100", "upstream logs docs --follow"],
  },
  "call tool-read": {
    ...CALL,
    summary: "call a tool that only reads",
    examples: [`call tool-read --tool-name github:list_repos --json_args '{"owner": "me"}'`],
  },
  "call tool-write": {
    ...CALL,
    summary: "call a tool that changes something",
    examples: [`call tool-write -t github:create_issue -j '{"title": "Bug"}' --reason "was asked to"`],
  },
  "call tool-destructive": {
    ...CALL,
    summary: "call a tool that destroys something",
    examples: [`call tool-destructive -t github:delete_repo -j '{"repo": "old"}'`],
  },
  "call tool": {
    ...CALL,
    summary: "call a tool, whatever it does, or one of the proxy's own",
    examples: [`call tool -t retrieve_tools -j '{"query": "create an issue"}'`],
  },
  "activity list": {
    summary: "what was done, the latest first",
    flags: [
      ...ACTIVITY_FILTERS,
      "-n, --limit N | at most so many (default 50)",
      "--offset N | without the first N",
      NO_ICONS,
    ],
    examples: ["activity list --type tool_call --limit 10", "activity list --server github --status error"],
  },
  "activity show": {
    summary: "all about one entry",
    words: "ID",
    flags: ["--include-response | without effect: results are not kept", NO_ICONS],
    examples: ["activity show 1234"],
  },
  "activity summary": {
    summary: "how many calls there were, and what came of them",
    flags: [
      "-p, --period TIME | in the last 1h, 24h, 7d … (default 24h)",
      "--by KEY | by server, tool or status only",
    ],
    examples: ["activity summary --period 7d", "activity summary --by server -o json"],
  },
  "activity export": {
    summary: "entries as a file, one a line",
    flags: [
      ...ACTIVITY_FILTERS,
      "-f, --format KIND | json or csv (default json)",
      "-o, --output FILE | into this file (default stdout)",
      "-n, --limit N | at most so many",
      "--include-bodies | with the arguments of calls",
    ],
    examples: [
      "activity export --format csv --output activity.csv",
      "activity export --since 24h | jq .status",
    ],
  },
  "activity watch": {
    summary: "what is done, as it is done",
    flags: [
      "-t, --type TYPE | of these types, parted by commas, as in tool_call",
      "-s, --server SERVER | of this server",
    ],
    examples: ["activity watch --type tool_call", "activity watch -o json | jq .status"],
  },
  "registry list": { summary: "the registries that are known", examples: ["registry list"] },
  "registry search": {
    summary: "servers of a registry",
    words: "[WORD…]",
    flags: [
      "-r, --registry ID | the registry",
      "-t, --tag TAG | with this tag",
      "-l, --limit N | at most so many (default 10)",
    ],
    examples: ["registry search weather -r official"],
  },
  "registry add": {
    summary: "add a server of a registry; it is quarantined until it is approved",
    words: "REGISTRY SERVER",
    flags: [
      "--name NAME | what it is called here",
      "--env KEY=VALUE… | in the environment of its process",
      "--header NAME:VALUE… | with every request",
    ],
    examples: ["registry add official io.github.example/weather --env API_KEY=…"],
  },
  "search-servers": {
    summary: "servers of a registry",
    flags: [
      "-r, --registry ID | the registry",
      "-s, --search WORDS | what it is about",
      "-t, --tag TAG | with this tag",
      "-l, --limit N | at most so many (default 10)",
      "--list-registries | the registries that are known",
    ],
    examples: ["search-servers -r official -s weather", "search-servers --list-registries"],
  },
  "token create": {
    summary: "make a token; it is shown once",
    flags: [
      "--name NAME | what it is called",
      "--servers SERVERS | of these servers, parted by commas; * for all",
      "--groups GROUPS | of the servers of these groups",
      "--permissions WHAT | read, or read,write or read,write,destructive",
      "--expires TIME | ends after so long, as in 12h or 90d (default 30d)",
    ],
    examples: ["token create --name bot --servers github,gitlab --permissions read,write --expires 30d"],
  },
  "token list": { summary: "all tokens", examples: ["token list"] },
  "token show": { ...TOKEN_NAME, summary: "all about a token but its secret", examples: ["token show bot"] },
  "token revoke": {
    ...TOKEN_NAME,
    summary: "end a token; its name stays taken",
    examples: ["token revoke bot"],
  },
  "token regenerate": {
    ...TOKEN_NAME,
    summary: "end the secret of a token and make another, which is shown once",
    flags: ["--expires TIME | ends after so long (default: as before)"],
    examples: ["token regenerate bot"],
  },
  "token delete": {
    ...TOKEN_NAME,
    summary: "end a token and forget it",
    examples: ["token delete bot"],
  },
} as const;
