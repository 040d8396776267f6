/**
 * A whole proxy in this process over a real configuration file, with its events.
 *
 * Owns opening it as `serve` does, and the ways a person edits a file. Invariants: every event is seen, from the first;
 * what was opened ends with `await using`. A child process was rejected here: no route tells events yet.
 */
import { spyOn } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventBus } from "../../src/core/events.ts";
import type { EventType, ProxyEvent } from "../../src/core/events.ts";
import { Configuration } from "../../src/gateway/configuration.ts";
import { createLog } from "../../src/lib/log.ts";
import { Proxy } from "../../src/proxy.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import type { Answer } from "./harness.ts";

/** An answer of the API. */
export interface Reply {
  readonly status: number;
  readonly body: Answer;
  /** `body.data`, empty in an error. */
  readonly data: Answer;
}

/** A proxy and its file. */
export interface LiveProxy extends AsyncDisposable {
  readonly folder: string;
  readonly path: string;
  readonly dataDir: string;
  readonly url: string;
  /** From the file to its meaning, and from there to a listening proxy with all of it in the database. */
  readonly readMs: number;
  readonly openMs: number;
  readonly lines: readonly string[];
  readonly events: readonly ProxyEvent[];
  readonly of: <Type extends EventType>(type: Type, server?: string) => ProxyEvent<Type>[];
  readonly api: (
    path: string,
    init?: { readonly method?: string; readonly body?: unknown },
  ) => Promise<Reply>;
  /** Calls a tool of an upstream. */
  readonly call: (id: string, args?: Answer) => Promise<Reply>;
  readonly server: (name: string) => Promise<Answer>;
  /** Waits until each of these is connected. */
  readonly ready: (...names: string[]) => Promise<void>;
  readonly revision: () => Promise<number>;
  /** Saves as most editors do, with a rename over the file. */
  readonly save: (text: string) => void;
  /** Saves and waits for the `config_reloaded` of it. */
  readonly reload: (text: string) => Promise<ProxyEvent<"config_reloaded">>;
  /** Saves and waits for the `config_invalid` of it. */
  readonly spoil: (act: () => void) => Promise<ProxyEvent<"config_invalid">>;
  /** Does something to the file and waits until the proxy has looked at it. */
  readonly looked: (act: () => void) => Promise<void>;
  readonly stop: () => Promise<void>;
}

const WAIT_MS = 20_000;

/** Where a proxy's files lie; open several in turn on one. */
export function openFolder(text: string): Disposable & { readonly path: string; readonly file: string } {
  const folder = tempDir();
  const file = join(folder.path, "mcp_config.json");
  writeFileSync(file, text, { mode: 0o600 });
  return { path: folder.path, file, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

/** Opens a proxy on a file; with `settled`, waits until each wanted server had its first attempt. */
export async function openLive(place: { readonly path: string; readonly file: string }): Promise<LiveProxy> {
  const { path: folder, file } = place;
  const dataDir = join(folder, "data");
  const lines: string[] = [];
  const events: ProxyEvent[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line) });
  const startedAt = performance.now();
  const loaded = await LoadedConfig.read({
    path: file,
    env: {},
    cwd: folder,
    home: folder,
    overrides: { listen: "127.0.0.1:0", dataDir },
  });
  const readAt = performance.now();
  const proxy = await openWatched(() => Proxy.open({ loaded, env: process.env, log }), events);
  const openedAt = performance.now();
  const looks = spyOn(Configuration.prototype, "reload");
  const headers = { "x-api-key": proxy.apiKey, "content-type": "application/json" };
  const api: LiveProxy["api"] = async (path, { method = "GET", body } = {}) => {
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(`${proxy.url}/api/v1${path}`, init);
    const answer = (await response.json()) as Answer;
    return { status: response.status, body: answer, data: (answer["data"] ?? {}) as Answer };
  };
  const of: LiveProxy["of"] = (type, server) =>
    events.filter(
      (event) => event.type === type && (server === undefined || event.server === server),
    ) as never;
  const next = async <Type extends EventType>(type: Type, act: () => void): Promise<ProxyEvent<Type>> => {
    const before = of(type).length;
    act();
    await waitFor(`the next ${type}`, () => of(type).length > before, WAIT_MS);
    return of(type)[before] as ProxyEvent<Type>;
  };
  const save = (text: string): void => {
    writeFileSync(`${file}.editor`, text, { mode: 0o600 });
    renameSync(`${file}.editor`, file);
  };
  let closing: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    looks.mockRestore();
    return (closing ??= proxy.close());
  };
  return {
    folder,
    path: file,
    dataDir,
    url: proxy.url,
    readMs: readAt - startedAt,
    openMs: openedAt - readAt,
    lines,
    events,
    of,
    api,
    call: (id, args = {}) =>
      api("/tools/call", {
        method: "POST",
        body: { tool_name: "call_tool_write", arguments: { name: id, args } },
      }),
    server: async (name) => (await api(`/servers/${encodeURIComponent(name)}`)).data,
    ready: async (...names) => {
      await waitFor(
        `ready: ${names.join(", ")}`,
        async () => {
          const { data } = await api("/servers");
          const all = data["servers"] as readonly Answer[];
          const isReady = (name: string): boolean =>
            all.some((one) => one["name"] === name && one["connection_state"] === "ready");
          return names.every(isReady);
        },
        WAIT_MS,
      );
    },
    revision: async () => (await api("/config/history")).data["revision"] as number,
    save,
    reload: (text) => next("config_reloaded", () => save(text)),
    spoil: (act) => next("config_invalid", act),
    looked: async (act) => {
      const before = looks.mock.results.length;
      act();
      await waitFor("the proxy looks at the file", () => looks.mock.results.length > before, WAIT_MS);
      await (looks.mock.results[before]?.value as Promise<void>);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Listens to the bus that is made meanwhile, before anybody else does. */
async function openWatched<T>(open: () => Promise<T>, events: ProxyEvent[]): Promise<T> {
  const watched = new WeakSet<EventBus>();
  // oxlint-disable-next-line typescript/unbound-method -- called with its bus below
  const original = EventBus.prototype.subscribe;
  const spy = spyOn(EventBus.prototype, "subscribe").mockImplementation(function (this: EventBus, listener) {
    if (!watched.has(this)) original.call(this, (event) => events.push(event));
    watched.add(this);
    return original.call(this, listener);
  });
  try {
    return await open();
  } finally {
    spy.mockRestore();
  }
}
