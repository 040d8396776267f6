/**
 * What the command line understands, as one table: every command, its words, its flags, and what they are for.
 *
 * Owns the text of all help and the flags of our own commands; owns none of their behaviour. Invariants: help, completion
 * and the reading of flags use this table alone, so that none of them knows a flag the others do not; a line of it fits
 * into 80 columns. A text for each command in its own file was rejected: asking for help would load them all.
 */

import { GO_COMMANDS, GO_NOUNS } from "./go_commands.ts";
import { DRY_RUN, LIMIT, SERVER_COMMANDS, WAIT, WATCH } from "./server_commands.ts";

/** One command that runs. */
export interface CommandRow {
  /** What it does, for a list of commands. */
  readonly summary: string;
  /** The words behind its name; `…` for several, brackets for what may be left out. */
  readonly words?: string;
  /** As in `-f, --follow | what it does` or `--tail N | what it does`; `…` behind a value for several. */
  readonly flags?: readonly string[];
  /** What stands behind `mcpproxy`. */
  readonly examples: readonly string[];
  /** What else one has to know. */
  readonly note?: string;
}

/** A noun, or a command without verbs, under its heading in the list of all. */
export interface NounRow {
  readonly heading: "Run" | "Look" | "Steer" | "Set up" | "As the Go proxy has it";
  readonly summary: string;
}

/** The nouns in the order they are shown. */
export const NOUNS: Readonly<Record<string, NounRow>> = {
  serve: { heading: "Run", summary: "run the proxy" },
  mock: { heading: "Run", summary: "mock servers to try it on" },
  scale: { heading: "Run", summary: "how it stands up to a fleet of production size" },
  status: { heading: "Look", summary: "how the proxy and its servers stand" },
  doctor: { heading: "Look", summary: "what is wrong, and what to do about it" },
  events: { heading: "Look", summary: "what changes, as it happens" },
  logs: { heading: "Look", summary: "the proxy's log, or what a server says" },
  servers: { heading: "Steer", summary: "list, add, change, switch and watch servers" },
  groups: { heading: "Steer", summary: "servers switched together" },
  tools: { heading: "Steer", summary: "find, call and explain tools" },
  config: { heading: "Set up", summary: "check the configuration, go back to an earlier one" },
  connect: { heading: "Set up", summary: "write this proxy into an MCP client's configuration" },
  secrets: { heading: "Set up", summary: "what ${keyring:NAME} stands for" },
  import: { heading: "Set up", summary: "take over the servers of an MCP client" },
  completion: { heading: "Set up", summary: "completion for bash, zsh and fish" },
  version: { heading: "Set up", summary: "the version, what runs it, and where" },
  ...GO_NOUNS,
};

/** Commands by their full name. */
export const COMMANDS: Readonly<Record<string, CommandRow>> = {
  serve: {
    summary: "run the proxy",
    flags: [
      "--stdio | speak MCP on stdin and stdout, for a client that starts it",
      "-l, --listen HOST:PORT | where to listen (default 127.0.0.1:8080)",
      "--tool-response-mode MODE | what a search answers: compact or full",
    ],
    examples: ["serve", "serve --listen 127.0.0.1:9090", "serve --stdio"],
  },
  mock: {
    summary: "mock servers to try it on",
    flags: [
      "--profile FILE | the mocks of this file",
      "--servers N | so many generated ones",
      "--outcomes KIND | production (some fail) or healthy",
      "--seed N | other ones",
      "--scale F | time of slow ones × F",
      "--max-stdio N | at most so many as processes",
      "--http-only | none as processes",
      "--tools N | so many tools each",
      "--conformance | with the tools of the conformance suite",
      "--port P | where to listen (default: any)",
      "--write-config FILE | write a configuration to serve them with",
    ],
    examples: ["mock --servers 20 --write-config /tmp/mocks.json"],
  },
  scale: {
    summary: "how it stands up to a fleet of production size",
    flags: [
      "--servers N | so many mock servers (default 159)",
      "--profile KIND | healthy, production or storm; and cpu, heap, handles",
      "--profile-dir DIR | where profiles go (default mcpproxy-profiles)",
      "--area NAMES | only these areas, parted by commas",
      "--short | fewer repetitions, smaller crowds",
      "--soak TIME | mixed load for so long instead, as in 30m",
      "--plot FILE | where its picture goes (default mcpproxy-soak.svg)",
      "--program FILE | another program than this one",
      "--config FILE | a copy of your own configuration instead of mocks",
      "--limit N | of it only the first N servers",
      "--only NAMES | of it only these servers, parted by commas",
      "--connect | start them; else nothing of yours is started",
      "--max-stdio N | at most so many mocks as processes",
      "--seed N | other mocks",
      "--markdown FILE | write the report there too",
    ],
    examples: ["scale", "scale --profile production --servers 1000", "scale --soak 30m"],
    note: "Exit code 1 when something is past a target of the design.",
  },
  status: {
    summary: "how the proxy and its servers stand",
    flags: [WATCH],
    examples: ["status", "status --watch"],
  },
  doctor: {
    summary: "what is wrong, and what to do about it; exit 1 on an error",
    flags: ["--server SERVER | of this server only"],
    examples: ["doctor", "doctor --json | jq '.findings[].hint'"],
  },
  events: {
    summary: "what changes, as it happens",
    flags: [
      "--types TYPES | of these types, parted by commas",
      "--servers SERVERS | of these servers, parted by commas",
      "--groups GROUPS | of these groups and their servers",
      "--since ID | what came after this event first",
    ],
    examples: ["events", "events --types server_state_changed,tool_called", "events --json | jq .type"],
  },
  logs: {
    summary: "the proxy's log, or what a server writes to stderr",
    words: "[SERVER]",
    flags: [
      "-f, --follow | go on with what is new",
      "-n, --tail N | the last N lines (default 50)",
      "--level LEVEL | at least this level: debug, info, warn or error",
    ],
    examples: ["logs -f", "logs --level warn", "logs github --tail 20"],
  },
  ...SERVER_COMMANDS,
  "groups list": {
    summary: "all groups, with how many servers are connected",
    flags: [WATCH],
    examples: ["groups list", "groups list --watch"],
  },
  "groups show": { summary: "a group and its servers", words: "GROUP", examples: ["groups show work"] },
  "groups create": {
    summary: "make a group",
    words: "NAME",
    flags: [
      "--description TEXT | what it is for",
      "--color COLOR | as in #00aaff",
      "--icon EMOJI | shown beside its name",
      "--parent GROUP | the group it is below",
    ],
    examples: ["groups create Work --color '#00aaff'"],
  },
  "groups update": {
    summary: "change a group",
    words: "GROUP",
    flags: [
      "--name NAME | another name",
      "--description TEXT | what it is for",
      "--color COLOR | as in #00aaff",
      "--icon EMOJI | shown beside its name",
      "--parent GROUP | the group it is below; '' for none",
    ],
    examples: ["groups update work --name Office"],
  },
  "groups delete": {
    summary: "delete a group; its servers stay",
    words: "GROUP",
    examples: ["groups delete work"],
  },
  "groups assign": {
    summary: "put servers into a group",
    words: "GROUP SERVER…",
    flags: [DRY_RUN],
    examples: ["groups assign work github slack"],
  },
  "groups unassign": {
    summary: "take servers out of a group",
    words: "GROUP SERVER…",
    flags: [DRY_RUN],
    examples: ["groups unassign work slack"],
  },
  "groups enable": {
    summary: "enable the servers of a group",
    words: "GROUP",
    flags: [DRY_RUN, ...WAIT],
    examples: ["groups enable work --wait"],
  },
  "groups disable": {
    summary: "disable the servers of a group",
    words: "GROUP",
    flags: [DRY_RUN],
    examples: ["groups disable work"],
  },
  "groups restart": {
    summary: "connect the servers of a group anew",
    words: "GROUP",
    flags: [DRY_RUN, ...WAIT],
    examples: ["groups restart work --wait"],
  },
  "groups quarantine": {
    summary: "hold the servers of a group until they are approved",
    words: "GROUP",
    flags: [DRY_RUN],
    examples: ["groups quarantine work"],
  },
  "tools list": {
    summary: "all known tools",
    flags: [
      "-s, --server SERVER | of this server",
      "-g, --group GROUP | of the servers of this group",
      "-q, --q TEXT | with this text in name or description",
      LIMIT,
      "--cursor CURSOR | the page behind 'next_cursor' of the one before",
    ],
    examples: ["tools list --server github"],
  },
  "tools search": {
    summary: "find tools by what they do",
    words: "WORD…",
    flags: ["-s, --server SERVER | of this server", "--limit N | at most so many (default 10)"],
    examples: ["tools search create an issue"],
  },
  "tools call": {
    summary: "call a tool; exit 1 when its result is an error",
    words: "TOOL [JSON]",
    flags: ["--args JSON | the arguments"],
    examples: [`tools call files:read_file '{"path": "a.txt"}'`],
  },
  "tools preflight": {
    summary: "whether tools can be called now",
    words: "TOOL…",
    examples: ["tools preflight github:create_issue && ./release.sh"],
    note: "Exits with 0 ready, 10 degraded (will come by itself), 11 blocked (a person must act), 12 unknown id.",
  },
  "tools explain": {
    summary: "why a tool is missing, or was not found",
    words: "TOOL",
    flags: [
      "--query WORDS | the words it was searched with",
      "--limit N | how many hits were wanted (default 10)",
    ],
    examples: ["tools explain github:create_issue --query 'open a ticket'"],
  },
  "config check": {
    summary: "every fault of a configuration file, with its place",
    words: "[FILE]",
    examples: ["config check", "config check ./mcp_config.json"],
  },
  "config schema": {
    summary: "the JSON Schema of the configuration file",
    examples: ["config schema > mcp_config.schema.json"],
  },
  "config history": {
    summary: "the earlier texts that are kept",
    examples: ["config history"],
    note: "Ten are kept; of those replaced within a minute, one.",
  },
  "config diff": {
    summary: "what changed between two texts, or one and the file",
    words: "ID [ID]",
    examples: ["config diff config-2026-01-02T03-04-05.678Z-r1"],
    note: "'mcpproxy config history' lists the ids.",
  },
  "config rollback": {
    summary: "put an earlier text in force",
    words: "ID",
    flags: ["--approve | approve what is started by it"],
    examples: ["config rollback config-2026-01-02T03-04-05.678Z-r1"],
    note: "'mcpproxy config history' lists the ids.",
  },
  connect: {
    summary: "write this proxy into an MCP client's configuration",
    words: "[CLIENT]",
    flags: [
      "--list | the clients, and which of them are connected",
      "--preview | show the change as a diff, and write nothing",
      "--undo | take the proxy out again",
      "--http | by URL; without it by whichever the client is better with",
      "--stdio | by a command the client starts",
      "--name NAME | the name of the entry (default mcpproxy)",
      "--project | the file of the project in this folder, not the user's own",
      "--token TOKEN | an agent's token to be written in",
      "--force | replace a foreign entry; write for a client not installed",
    ],
    examples: [
      "connect --list",
      "connect cursor --preview",
      "connect claude-desktop",
      "connect cursor --undo",
    ],
    note: "A backup lies beside each file that was changed.",
  },
  "secrets set": {
    summary: "store a secret in the keyring; the value comes on stdin",
    words: "NAME",
    examples: ["secrets set github-token < token.txt"],
    note: "Write ${keyring:NAME} in env, headers, args, url or api_key of the configuration.",
  },
  "secrets get": {
    summary: "whether a secret is set; exit 1 when it is not",
    words: "NAME",
    flags: ["--show | print the value"],
    examples: ["secrets get github-token"],
  },
  "secrets list": {
    summary: "the secrets the configuration refers to, and whether they are set",
    examples: ["secrets list"],
  },
  "secrets delete": {
    summary: "take a secret out of the keyring",
    words: "NAME",
    examples: ["secrets delete github-token"],
  },
  import: {
    summary: "take over the servers of an MCP client, quarantined",
    words: "CLIENT|FILE",
    flags: [
      "--format FORM | what the file is, when it is not to be guessed",
      "--names NAMES | only these, parted by commas",
      "--project | the client's file of the project in this folder",
      DRY_RUN,
    ],
    examples: ["import claude-desktop", "import ./mcp.json --names files,github --dry-run"],
    note: "Nothing is started before somebody approves it.",
  },
  "completion bash": {
    summary: "the script for bash",
    examples: ["completion bash > ~/.local/share/bash-completion/completions/mcpproxy"],
  },
  "completion zsh": {
    summary: "the script for zsh",
    examples: [`completion zsh > "\${fpath[1]}/_mcpproxy"`],
  },
  "completion fish": {
    summary: "the script for fish",
    examples: ["completion fish > ~/.config/fish/completions/mcpproxy.fish"],
  },
  version: {
    summary: "the version, what runs it, and where",
    examples: ["version", "version --json"],
  },
  ...GO_COMMANDS,
};

/** Flags of every command. */
export const GLOBAL_FLAGS: readonly string[] = [
  "-c, --config FILE | configuration (default ./mcp_config.json, ~/.mcpproxy/…)",
  "-d, --data-dir DIR | data dir (default ~/.mcpproxy)",
  "--log-level LEVEL | debug, info, warn or error",
  "--url URL | the proxy at this address, with the key of MCPPROXY_API_KEY",
  "-o, --output FORMAT | table, json or yaml",
  "--json | as -o json: the data of the API as it is",
  "-h, --help | help on the command",
  "-V, --version | the version",
];

/** Values that are always the same, by the word that stands for them. */
export const VALUES: Readonly<Record<string, readonly string[]>> = {
  CLIENT: [
    "claude-desktop",
    "claude-code",
    "cursor",
    "vscode",
    "windsurf",
    "zed",
    "goose",
    "codex",
    "gemini",
  ],
  CATEGORY: ["connected", "disconnected", "sleeping", "disabled", "auto_disabled", "quarantined"],
  FORMAT: ["table", "json", "yaml"],
  KEY: [
    "name",
    "-name",
    "category",
    "tool_count",
    "-tool_count",
    "since",
    "-since",
    "status",
    "mode",
    "protocol",
  ],
  LEVEL: ["debug", "info", "warn", "error"],
  PROTOCOL: ["stdio", "http", "streamable-http", "sse", "auto"],
};
