#!/usr/bin/env bun
/**
 * The program's entry: from argv to a command.
 *
 * Owns the list of commands and the real process behind them. Invariants: `--version` and `--help` load
 * nothing but this file, the version and the reading of verbs; each command is loaded when it runs. Loading all commands was
 * rejected: the database layer alone takes longer than the whole of `--version`.
 */
import { homedir } from "node:os";

import type { CommandIo } from "./cli/command.ts";
import type { ServeIo } from "./cli/serve.ts";
import { takeVerb } from "./cli/verb.ts";
import { VERSION } from "./core/version.ts";

/** Standing streams of upstreams count against Bun's limit of 256 requests at once, which only the environment sets. */
const HTTP_REQUESTS_VARIABLE = "BUN_CONFIG_MAX_HTTP_REQUESTS";
const MAX_HTTP_REQUESTS = "16384";

const HELP = `mcpproxy ${VERSION}: one endpoint for many MCP servers

Usage: mcpproxy COMMAND [FLAGS]

  serve                 run the proxy (--stdio for a client that starts it, --listen HOST:PORT)
  status                how the proxy and its servers stand
  tools list            all known tools
  tools search WORDS    find tools by what they do
  tools call ID JSON    call a tool, as in: tools call files:read_file '{"path": "a.txt"}'
  mock                  mock servers to try it on (--servers N or --profile FILE, --write-config FILE)
  config check [FILE]   every fault of a configuration file, with its place
  config schema         the JSON Schema of the configuration file

Flags of every command:
  -c, --config FILE     configuration file (default: ./mcp_config.json, ~/.mcpproxy/mcp_config.json)
  -d, --data-dir DIR    data dir (default: ~/.mcpproxy)
      --log-level LEVEL debug, info, warn or error
      --json, -o json   machine-readable output
  -h, --help            this text
  -V, --version         the version
`;

const io: CommandIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  cwd: process.cwd(),
  home: process.env["HOME"] ?? homedir(),
  columns: process.stdout.isTTY ? process.stdout.columns : undefined,
};

const serveIo: ServeIo = {
  ...io,
  stdin: () => Bun.stdin.stream(),
  onSignal: (listener) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, listener);
  },
  exit: (code) => process.exit(code),
};

/** Starts this program once more in place of itself when the limit on requests is not set. */
function raiseRequestLimit(): void {
  if (
    process.env[HTTP_REQUESTS_VARIABLE] !== undefined ||
    process.execve === undefined ||
    process.platform === "win32"
  )
    return;
  const isCompiled = import.meta.url.includes("$bunfs");
  const args = isCompiled ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [HTTP_REQUESTS_VARIABLE]: MAX_HTTP_REQUESTS };
  try {
    process.execve(process.execPath, [process.execPath, ...args], env);
  } catch {
    // Where it cannot be done the proxy runs with Bun's own limit.
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const { verb, rest: args } = takeVerb(argv);
  if (verb === "help" || argv.includes("--help") || argv.includes("-h") || argv.length === 0) {
    io.stdout(HELP);
    return 0;
  }
  if (verb === undefined && (argv.includes("--version") || argv.includes("-V"))) {
    io.stdout(`${VERSION}\n`);
    return 0;
  }
  if (verb === "serve") {
    raiseRequestLimit();
    return (await import("./cli/serve.ts")).runServe(args, serveIo);
  }
  if (verb === "status") return (await import("./cli/status.ts")).runStatus(args, io);
  if (verb === "tools") return (await import("./cli/tools.ts")).runTools(args, io);
  if (verb === "mock") return (await import("./cli/mock.ts")).runMock(args, serveIo);
  if (verb === "config") return (await import("./cli/config.ts")).runConfig(args, io);
  io.stderr(
    `${verb === undefined ? "Name a command" : `Cannot run '${verb}': no such command`}\nSee 'mcpproxy --help'\n`,
  );
  return 2;
}

async function main(): Promise<never> {
  const argv = process.argv.slice(2);
  try {
    process.exit(await run(argv));
  } catch (error) {
    const { printFailure } = await import("./cli/command.ts");
    process.exit(printFailure(error, io, argv.includes("--json")));
  }
}

void main();
