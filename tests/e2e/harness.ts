/**
 * The proxy as users start it, for tests that look from outside.
 *
 * Owns starting it as a child on a temp folder, talking to its API, clients of every kind, and a direct call of a
 * stdio server without the proxy. Invariants: nothing here sleeps for a fixed time; what was started is ended, and a
 * process left behind is an error. The folder is HOME and TMPDIR of all that is started, which is how leftovers
 * are found: both variables reach every child.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { readDaemonNote } from "../../src/state/daemon.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";

/** The checkout. */
export const ROOT = join(import.meta.dir, "../..");
/** The command line of the proxy's source. */
export const SOURCE: readonly string[] = [process.execPath, join(ROOT, "src/main.ts")];

const STOP_MS = 15_000;
const READY_MS = 15_000;
const VANISH_MS = 6_000;

/** Any JSON object of an answer. */
export type Answer = Readonly<Record<string, unknown>>;

/** A program of `node_modules/.bin`, by its full path. */
export function bin(name: string): string {
  return join(ROOT, "node_modules/.bin", name);
}

/** A temp folder whose processes can be found. */
export interface Scene extends AsyncDisposable {
  readonly path: string;
  /** The environment of all that is started on it. */
  readonly env: Readonly<Record<string, string>>;
  /** Processes that were started on it and run. */
  readonly processes: () => number[];
  /** Kills them all and waits until they are gone. */
  readonly sweep: () => Promise<void>;
}

/** Makes a temp folder; disposing it fails when a process started on it is left. */
export function openScene(): Scene {
  const folder = tempDir();
  const [home, temp] = [join(folder.path, "home"), join(folder.path, "tmp")];
  for (const path of [home, temp]) mkdirSync(path);
  const { PATH = "", SSL_CERT_FILE, NODE_EXTRA_CA_CERTS } = process.env;
  const env = {
    PATH,
    HOME: home,
    TMPDIR: temp,
    ...(SSL_CERT_FILE === undefined ? {} : { SSL_CERT_FILE }),
    ...(NODE_EXTRA_CA_CERTS === undefined ? {} : { NODE_EXTRA_CA_CERTS }),
  };
  const scene: Scene = {
    path: folder.path,
    env,
    processes: () => processesOf(folder.path),
    sweep: async () => {
      for (const pid of scene.processes()) kill(pid, "SIGKILL");
      await waitFor("the killed processes are gone", () => scene.processes().length === 0, VANISH_MS);
    },
    [Symbol.asyncDispose]: async () => {
      try {
        await waitFor("no process is left", () => scene.processes().length === 0, VANISH_MS);
      } finally {
        const left = scene.processes();
        for (const pid of left) kill(pid, "SIGKILL");
        folder[Symbol.dispose]();
      }
    },
  };
  return scene;
}

/** A finished program. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export async function runProgram(
  argv: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly cwd?: string },
): Promise<Ended> {
  const { env, cwd = ROOT } = options;
  const child = Bun.spawn([...argv], {
    cwd,
    env: { ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** Builds the program as users do, into `folder`; the path of the binary. */
export async function buildBinary(folder: string): Promise<string> {
  const binary = join(folder, "mcpproxy");
  // The last --outfile counts.
  const build = [process.execPath, "run", "build", "--outfile", binary];
  const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? folder };
  const { code, stderr } = await runProgram(build, { env });
  if (code !== 0) throw new Error(`The build ended with ${code}: ${stderr}`);
  return binary;
}

/** Options of {@link startProxy}. */
export interface StartOptions {
  /** @default the source */
  readonly command?: readonly string[];
  /** The configuration: data, or the text of the file; without one the proxy makes its own. */
  readonly config?: Answer | string;
  /** Whether configuration and data lie where a user has them, below HOME, and no flag names them. @default false */
  readonly isAtHome?: boolean;
  /** @default a port the machine chooses */
  readonly listen?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A running proxy. */
export interface RunningProxy extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  readonly configPath: string;
  /** From the start of the process to `/readyz`. */
  readonly readyMs: number;
  readonly stderr: () => string;
  readonly isRunning: () => boolean;
  /** Asks the API; the envelope as it came. */
  readonly api: (path: string, init?: RequestInit) => Promise<Answer>;
  /** The servers of `GET /servers` by name. */
  readonly servers: () => Promise<ReadonlyMap<string, Answer>>;
  /** Runs a command of the command line against it. */
  readonly cli: (...args: string[]) => Promise<Ended>;
  /** Waits until each server is connected or, when `settled` is enough, has had its first attempt. */
  readonly connected: (names: readonly string[], withinMs?: number) => Promise<void>;
  readonly settled: () => Promise<void>;
  /** Ends it calmly; resolves with the exit code. Idempotent. */
  readonly stop: () => Promise<number>;
  /** `kill -9`. */
  readonly kill: () => Promise<void>;
}

/** Starts `serve` on a scene and waits for `/readyz`. */
export async function startProxy(scene: Scene, options: StartOptions): Promise<RunningProxy> {
  const { command = SOURCE, config, isAtHome = false, listen = "127.0.0.1:0" } = options;
  const dataDir = isAtHome ? join(scene.path, "home", ".mcpproxy") : join(scene.path, "data");
  const configPath = join(isAtHome ? dataDir : scene.path, "mcp_config.json");
  if (config !== undefined) {
    writeFileSync(configPath, typeof config === "string" ? config : JSON.stringify(config));
  }
  const env = { ...scene.env, ...options.env };
  const places = isAtHome ? [] : ["--config", configPath, "--data-dir", dataDir];
  const startedAt = performance.now();
  const child = Bun.spawn([...command, "serve", ...places, "--listen", listen], {
    cwd: scene.path,
    env,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const { pid } = child;
  let stderr = "";
  void (async () => {
    for await (const chunk of child.stderr) stderr += new TextDecoder().decode(chunk);
  })();
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const { url } = await waitFor(
    "the proxy says where it listens",
    () => {
      if (!isRunning()) throw new Error(`The proxy left with ${child.exitCode}: ${stderr}`);
      const note = readDaemonNote(dataDir);
      return note?.pid === pid ? note : undefined;
    },
    READY_MS,
  ).then((note) => note ?? Promise.reject(new Error("There is no note")));
  await waitFor("/readyz answers 200", async () => (await fetch(`${url}/readyz`)).ok, READY_MS);
  const readyMs = performance.now() - startedAt;
  const configured = typeof config === "object" ? config["api_key"] : undefined;
  const apiKey =
    typeof configured === "string" ? configured : readFileSync(join(dataDir, "api_key"), "utf8").trim();
  const api = async (path: string, init: RequestInit = {}): Promise<Answer> => {
    const headers = { "x-api-key": apiKey, "content-type": "application/json" };
    return (await (await fetch(`${url}/api/v1${path}`, { ...init, headers })).json()) as Answer;
  };
  const servers = async (): Promise<ReadonlyMap<string, Answer>> => {
    const { data } = (await api("/servers")) as { readonly data: { readonly servers: readonly Answer[] } };
    return new Map(data.servers.map((server) => [String(server["name"]), server]));
  };
  const proxy: RunningProxy = {
    url,
    pid,
    dataDir,
    configPath,
    readyMs,
    stderr: () => stderr,
    isRunning,
    api,
    servers,
    cli: (...args) => runProgram([...command, ...args, ...places], { env, cwd: scene.path }),
    connected: async (names, withinMs = 30_000) => {
      await waitFor(
        `connected: ${names.join(", ")}`,
        async () => {
          const all = await servers();
          return names.every((name) => all.get(name)?.["connection_state"] === "ready");
        },
        withinMs,
      );
    },
    settled: async () => {
      await waitFor("all are settled", async () => (await fetch(`${url}/startupz`)).ok, 30_000);
    },
    stop: async () => {
      if (isRunning()) kill(pid, "SIGTERM");
      const timer = setTimeout(() => kill(pid, "SIGKILL"), STOP_MS);
      await child.exited;
      clearTimeout(timer);
      return child.exitCode ?? -1;
    },
    kill: async () => {
      kill(pid, "SIGKILL");
      await child.exited;
    },
    [Symbol.asyncDispose]: async () => void (await proxy.stop()),
  };
  return proxy;
}

/** An MCP client of any kind. */
export interface AnyClient extends AsyncDisposable {
  readonly tools: () => Promise<readonly Answer[]>;
  readonly call: (name: string, args: Answer) => Promise<Answer>;
}

/** How the proxy's stdio endpoint is started. */
export interface StdioCommand {
  readonly command: string;
  readonly args: string[];
  readonly env: Record<string, string>;
}

const INFO = { name: "test", version: "1" };

/** A client of the SDK's line 2, in the given era. */
export async function openV2(
  target: string | StdioCommand,
  era: "modern" | "legacy" = "modern",
): Promise<AnyClient> {
  const mode = era === "modern" ? { pin: "2026-07-28" } : "legacy";
  const client = new ClientV2(INFO, { versionNegotiation: { mode } });
  const isUrl = typeof target === "string";
  await client.connect(isUrl ? new HttpV2(new URL(target)) : new StdioV2({ ...target, stderr: "ignore" }));
  if (client.getProtocolEra() !== era) throw new Error(`The era is '${client.getProtocolEra()}'`);
  return {
    tools: async () => (await client.listTools()).tools,
    call: (name, args) => client.callTool({ name, arguments: { ...args } }),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** A client of the SDK's line 1. */
export async function openV1(
  target: string | StdioCommand,
  headers: Readonly<Record<string, string>> = {},
): Promise<AnyClient> {
  const client = new ClientV1(INFO);
  const isUrl = typeof target === "string";
  const transport = isUrl
    ? new HttpV1(new URL(target), { requestInit: { headers: { ...headers } } })
    : new StdioV1({ ...target, stderr: "ignore" });
  await client.connect(transport);
  return {
    tools: async () => (await client.listTools()).tools,
    call: (name, args) => client.callTool({ name, arguments: { ...args } }),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** The inspector's command line as a client. */
export function openInspector(url: string, scene: Scene): AnyClient {
  const run = async (...args: string[]): Promise<Answer> => {
    const argv = [bin("mcp-inspector"), "--cli", url, "--transport", "http", ...args];
    const { code, stdout, stderr } = await runProgram(argv, { env: scene.env, cwd: scene.path });
    try {
      return JSON.parse(stdout) as Answer;
    } catch {
      throw new Error(`The inspector ended with ${code}: ${stdout}${stderr}`);
    }
  };
  return {
    tools: async () => (await run("--method", "tools/list"))["tools"] as Answer[],
    call: (name, args) => {
      const pairs = Object.entries(args).map(
        ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
      );
      const given = pairs.flatMap((pair) => ["--tool-arg", pair]);
      return run("--method", "tools/call", "--tool-name", name, ...given);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** What a meta tool wrote as JSON text. */
export function replyOf(result: Answer): Answer {
  const [block] = result["content"] as readonly { readonly text: string }[];
  return JSON.parse(block?.text ?? "null") as Answer;
}

/** A stdio server's entry in a configuration. */
export interface Entry {
  readonly command: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Calls tools of a stdio server without proxy or SDK; the results as they stood on the wire. */
export async function callDirectly(
  entry: Entry,
  calls: readonly { readonly name: string; readonly args: Answer }[],
  scene: Scene,
): Promise<Answer[]> {
  const { command, args = [], env = {} } = entry;
  const child = Bun.spawn([command, ...args], {
    cwd: scene.path,
    env: { ...scene.env, ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
  });
  const answers = messagesOf(child.stdout);
  const send = (message: Answer): void => {
    void child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    void child.stdin.flush();
  };
  const ask = async (id: number, method: string, params: Answer): Promise<Answer> => {
    send({ id, method, params });
    for (;;) {
      const { value, done } = await answers.next();
      if (done === true) throw new Error(`'${command}' left before it answered '${method}'`);
      if (value["id"] === id) return value["result"] as Answer;
    }
  };
  try {
    await ask(0, "initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: INFO });
    send({ method: "notifications/initialized" });
    const results: Answer[] = [];
    for (const [at, call] of calls.entries()) {
      results.push(await ask(at + 1, "tools/call", { name: call.name, arguments: call.args }));
    }
    return results;
  } finally {
    await child.stdin.end();
    child.kill();
    await child.exited;
  }
}

async function* messagesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Answer, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) yield JSON.parse(line) as Answer;
  }
  return undefined;
}

/** `uvx` with the user's own cache, so that a package is not downloaded for each test, and the way to the network. */
export function uvx(...args: string[]): Entry {
  const env: Record<string, string> = { HOME: homedir() };
  for (const [name, value] of Object.entries(process.env)) {
    if (/^(?:UV_.*|(?:https?|all|no)_proxy)$/i.test(name) && value !== undefined) env[name] = value;
  }
  return { command: "uvx", args, env };
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}

/** Running processes with `text` in their environment or command line. */
function processesOf(text: string): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) return [];
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      if (/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2))) return [];
      const told = ["environ", "cmdline"].map((file) => readFileSync(`/proc/${entry}/${file}`, "utf8"));
      return told.some((part) => part.includes(text)) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}
