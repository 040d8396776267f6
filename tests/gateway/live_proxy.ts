/**
 * A whole proxy in this process, over a configuration file of its own that is watched, changed and kept over restarts.
 *
 * Owns the shortest way to ask its API and to edit its file by hand. Invariant: `await using` ends it and removes the
 * folder.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/core/model.ts";
import { createLog } from "../../src/lib/log.ts";
import { Proxy } from "../../src/proxy.ts";
import type { Keyring } from "../../src/state/keyring.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";

/** An answer of the API. */
export interface LiveReply {
  readonly status: number;
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
  /** `data` of the envelope; empty when there is none. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** A running proxy over a file. */
export interface LiveProxy extends AsyncDisposable {
  readonly url: () => string;
  readonly path: string;
  readonly folder: string;
  readonly lines: readonly string[];
  /** Asks, as in `POST /servers`, below `/api/v1`; what begins with `/api` or `/mcp` is taken as it is. */
  readonly ask: (ask: string, body?: unknown, headers?: Record<string, string>) => Promise<LiveReply>;
  /** The text of the file. */
  readonly text: () => string;
  /** Saves the file as an editor does, and waits until it is in force or refused. */
  readonly edit: (text: string) => Promise<void>;
  /** The server as lists show it. */
  readonly server: (name: string) => Promise<Readonly<Record<string, unknown>>>;
  readonly untilReady: (...names: readonly string[]) => Promise<void>;
  /** Stops it and starts it on the same folder. */
  readonly restart: (meanwhile?: () => void) => Promise<void>;
}

/** Opens a proxy over a file with this text or data, and waits until every server had its first attempt. */
export async function openLiveProxy(
  config: JsonObject | string,
  options: { readonly env?: Readonly<Record<string, string>>; readonly keyring?: Keyring } = {},
): Promise<LiveProxy> {
  const folder = tempDir();
  const path = join(folder.path, "mcp_config.json");
  const lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line) });
  const given = typeof config === "string" ? config : `${JSON.stringify(config, null, 2)}\n`;
  writeFileSync(path, given, { mode: 0o600 });
  const env = { PATH: process.env["PATH"], ...options.env };
  const overrides = { listen: "127.0.0.1:0", dataDir: join(folder.path, "data") };
  const open = async (): Promise<Proxy> => {
    const loaded = await LoadedConfig.read({ path, env, cwd: folder.path, home: folder.path, overrides });
    const proxy = await Proxy.open({
      loaded,
      env,
      log,
      ...(options.keyring && { keyring: options.keyring }),
    });
    const isSettled = async (): Promise<boolean> => (await fetch(`${proxy.url}/startupz`)).ok;
    await waitFor("every server had its first attempt", isSettled, 10_000);
    return proxy;
  };
  let proxy = await open();
  const ask: LiveProxy["ask"] = async (what, body, headers = {}) => {
    const [method = "GET", route = ""] = what.split(" ");
    const isWhole = route.startsWith("/api") || route.startsWith("/mcp");
    const response = await fetch(`${proxy.url}${isWhole ? "" : "/api/v1"}${route}`, {
      method,
      headers: { "x-api-key": proxy.apiKey, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = parse(text);
    return { status: response.status, text, json, data: (json["data"] ?? {}) as LiveReply["data"] };
  };
  const server: LiveProxy["server"] = async (name) =>
    (await ask(`GET /servers/${encodeURIComponent(name)}`)).data;
  const revision = async (): Promise<unknown> => (await ask("GET /config/history")).data["revision"];
  return {
    url: () => proxy.url,
    path,
    folder: folder.path,
    lines,
    ask,
    text: () => readFileSync(path, "utf8"),
    edit: async (text) => {
      const before = await revision();
      const told = lines.length;
      writeFileSync(`${path}.edited`, text);
      renameSync(`${path}.edited`, path);
      await waitFor("the edit is in force or refused", async () => {
        const isRefused = lines.slice(told).some((line) => line.includes("cannot be used"));
        return isRefused || (await revision()) !== before;
      });
    },
    server,
    untilReady: async (...names) => {
      for (const name of names) {
        const isReady = async (): Promise<boolean> => (await server(name))["status"] === "ready";
        await waitFor(`'${name}' is ready`, isReady);
      }
    },
    restart: async (meanwhile) => {
      await proxy.close();
      meanwhile?.();
      proxy = await open();
    },
    [Symbol.asyncDispose]: async () => {
      await proxy.close();
      folder[Symbol.dispose]();
    },
  };
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
