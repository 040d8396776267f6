/**
 * From a command line to the command it names.
 *
 * Owns the list of commands, `--help` and `--version` wherever they stand, and what is said of a command there is not.
 * Invariants: a command is loaded when it runs, and the texts of help when they are asked for; after `--` nothing is
 * ours. Loading all commands was rejected: the database layer alone takes longer than the whole of `--version`.
 */
import { VERSION } from "../core/version.ts";
import type { ServeIo } from "./serve.ts";
import { defaultFlags, takeVerb } from "./verb.ts";

/** Runs a command with the words behind its name; resolves with the exit code. */
type Runner = (args: readonly string[], io: ServeIo) => Promise<number>;

const RUNNERS: Readonly<Record<string, Runner>> = {
  activity: async (args, io) => (await import("./activity.ts")).runActivity(args, io),
  call: async (args, io) => (await import("./call.ts")).runCall(args, io),
  completion: async (args, io) => (await import("./completion.ts")).runCompletion(args, io),
  config: async (args, io) => (await import("./config.ts")).runConfig(args, io),
  connect: async (args, io) => (await import("./connect.ts")).runConnect(args, io),
  doctor: async (args, io) => (await import("./doctor.ts")).runDoctor(args, io),
  events: async (args, io) => (await import("./events.ts")).runEvents(args, io),
  groups: async (args, io) => (await import("./groups.ts")).runGroups(args, io),
  import: async (args, io) => (await import("./import.ts")).runImport(args, io),
  logs: async (args, io) => (await import("./logs.ts")).runLogs(args, io),
  mock: async (args, io) => (await import("./mock.ts")).runMock(args, io),
  registry: async (args, io) => (await import("./registry.ts")).runRegistry(args, io),
  scale: async (args, io) => (await import("./scale.ts")).runScaleCommand(args, io),
  "search-servers": async (args, io) => (await import("./registry.ts")).runSearchServers(args, io),
  secrets: async (args, io) => (await import("./secrets.ts")).runSecrets(args, io),
  serve: async (args, io) => (await import("./serve.ts")).runServe(args, io),
  servers: async (args, io) => (await import("./servers.ts")).runServers(args, io),
  status: async (args, io) => (await import("./status.ts")).runStatus(args, io),
  token: async (args, io) => (await import("./token.ts")).runToken(args, io),
  tools: async (args, io) => (await import("./tools.ts")).runTools(args, io),
  upstream: async (args, io) => (await import("./upstream.ts")).runUpstream(args, io),
  version: async (args, io) => (await import("./version.ts")).runVersion(args, io),
};

/** The names of all commands. */
export const COMMAND_NAMES: readonly string[] = Object.keys(RUNNERS);

/** Runs a command line; what it fails with is thrown. */
export async function runProgram(argv: readonly string[], io: ServeIo): Promise<number> {
  const ours = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  const { verb, rest } = takeVerb(argv);
  // What is completed may hold any flag.
  const isCompleted = verb === "completion" && takeVerb(rest).verb === "words";
  const isHelp = !isCompleted && (ours.includes("--help") || ours.includes("-h"));
  if (verb === "help" || isHelp || argv.length === 0) {
    const { helpFor } = await import("./help.ts");
    io.stdout(helpFor(verb === "help" ? rest : ours, io.columns));
    return 0;
  }
  if (verb === undefined && (ours.includes("--version") || ours.includes("-V"))) {
    io.stdout(`${VERSION}\n`);
    return 0;
  }
  const runner = verb === undefined || !Object.hasOwn(RUNNERS, verb) ? undefined : RUNNERS[verb];
  if (runner !== undefined) return runner([...defaultFlags(io.env), ...rest], io);
  const { unknownCommand } = await import("./help.ts");
  throw unknownCommand(verb === undefined ? [] : [verb]);
}
