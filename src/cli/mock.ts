/**
 * `mcpproxy mock`: serves deterministic upstreams until it is stopped, or is one of them over stdio.
 *
 * Owns the flags, what is printed, and the process that mocks run in. Invariants: one JSON line with `--json`; the
 * runnable configuration is written before the line that says so; a stdio mock loads none of the command line's own files. Printing a
 * configuration on stdout was rejected: the line there is for whoever waits for the host.
 */
import type { MockProfile } from "../mock/server.ts";
import type { ServeIo } from "./serve.ts";

const USAGE =
  "mcpproxy mock --profile FILE | --servers N [--outcomes production|healthy] [--seed N] [--scale F] [--max-stdio N] [--http-only] [--tools N] [--conformance] [--port P] [--write-config FILE] [--json]";
const MAX_PORT = 65_535;

/** Runs the host, or with `--stdio-server` one mock on stdin and stdout. */
export async function runMock(args: readonly string[], io: ServeIo): Promise<number> {
  return args.includes("--stdio-server") ? runStdio(args, io) : runHost(args, io);
}

/** Reads its few flags itself: the shared reader costs a mock more than they do. */
async function runStdio(args: readonly string[], io: ServeIo): Promise<number> {
  const { runStdioMock } = await import("../mock/stdio_server.ts");
  const valueOf = (flag: string): string | undefined => {
    const at = args.indexOf(flag);
    return at < 0 ? undefined : args[at + 1];
  };
  const spec = valueOf("--spec");
  if (spec === undefined) {
    io.stderr("Name the mock: --spec JSON or --spec @FILE\n");
    return 2;
  }
  const out = Bun.stdout.writer();
  const options = { spec, journal: valueOf("--journal"), isControlled: args.includes("--control") };
  return runStdioMock(options, {
    stdin: io.stdin,
    write: (text) => {
      void out.write(text);
      return out.flush();
    },
    stderr: io.stderr,
    exit: io.exit,
    pid: process.pid,
  });
}

async function runHost(args: readonly string[], io: ServeIo): Promise<number> {
  const { readCommand, textFlag } = await import("./command.ts");
  const text = { type: "string" } as const;
  const { flags, values } = readCommand(args, {
    usage: USAGE,
    maxPositionals: 0,
    options: {
      profile: text,
      servers: text,
      outcomes: text,
      seed: text,
      scale: text,
      "max-stdio": text,
      "http-only": { type: "boolean" },
      conformance: { type: "boolean" },
      tools: text,
      port: text,
      "write-config": text,
    },
  });
  const given = (name: string): string | undefined => textFlag(values[name]);
  const profile = await readProfile(given, values);
  const port = await numberOf("port", given, { max: MAX_PORT });
  const { startMockHost } = await import("../mock/http_host.ts");
  const stopped = new Promise<void>((resolve) => io.onSignal(resolve));
  await using host = startMockHost({ servers: profile.servers, ...(port !== undefined && { port }) });
  const config = given("write-config");
  if (config !== undefined) await Bun.write(config, `${JSON.stringify(host.config(), null, 2)}\n`);
  const tools = profile.servers.reduce((all, server) => all + server.tools.length, 0);
  const facts = {
    pid: process.pid,
    port: host.port,
    control: host.controlUrl,
    servers: host.names.length,
    tools,
    config,
  };
  io.stdout(
    flags.isJson
      ? `${JSON.stringify(facts)}\n`
      : `${facts.servers} mock servers with ${tools} tools on port ${host.port}; control ${host.controlUrl}${config === undefined ? "" : `; configuration ${config}`}\n`,
  );
  await stopped;
  return 0;
}

async function readProfile(
  given: (name: string) => string | undefined,
  switches: Readonly<Record<string, string | boolean | undefined>>,
): Promise<MockProfile> {
  const file = given("profile");
  const servers = await numberOf("servers", given, { min: 1 });
  if ((file === undefined) === (servers === undefined)) {
    return usage("Give either a profile or a number of servers");
  }
  if (file !== undefined) return readFile(file);
  const outcomes = given("outcomes") ?? "production";
  if (outcomes !== "production" && outcomes !== "healthy") return usage(`Cannot make outcomes '${outcomes}'`);
  const [seed, tools, cap] = await Promise.all(
    ["seed", "tools", "max-stdio"].map((name) => numberOf(name, given)),
  );
  const scale = await numberOf("scale", given, { isWhole: false });
  const maxStdio = switches["http-only"] === true ? 0 : cap;
  const { makeProfile } = await import("../mock/profile.ts");
  return makeProfile({
    servers: servers ?? 1,
    outcomes,
    conformance: switches["conformance"] === true,
    ...(seed !== undefined && { seed }),
    ...(tools !== undefined && { tools }),
    ...(scale !== undefined && { scale }),
    ...(maxStdio !== undefined && { maxStdio }),
  });
}

async function readFile(file: string): Promise<MockProfile> {
  const { messageOf, ProxyError } = await import("../core/errors.ts");
  try {
    const profile = (await Bun.file(file).json()) as MockProfile;
    if (!Array.isArray(profile.servers)) throw new Error("it has no list 'servers'");
    return profile;
  } catch (error) {
    throw new ProxyError("USAGE", `Cannot read the profile '${file}': ${messageOf(error)}`, { cause: error });
  }
}

async function numberOf(
  name: string,
  given: (name: string) => string | undefined,
  { min = 0, max = Number.MAX_SAFE_INTEGER, isWhole = true } = {},
): Promise<number | undefined> {
  const text = given(name);
  if (text === undefined) return undefined;
  const number = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isFinite(number) && number >= min && number <= max && (!isWhole || Number.isInteger(number)))
    return number;
  return usage(`Cannot read '${text}' as the value of --${name}`);
}

async function usage(message: string): Promise<never> {
  const { ProxyError } = await import("../core/errors.ts");
  throw new ProxyError("USAGE", message, { hint: `Usage: ${USAGE}` });
}
