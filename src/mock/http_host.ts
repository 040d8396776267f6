/**
 * Many mock servers in one process: `startMockHost({servers}) → url(name)`, with switches and counters.
 *
 * Owns the listeners, the folder of stdio specs and journals, and the control route. Invariants: faults, tools and counters of
 * a mock are reached by its name, whatever its transport; after disposal no listener, stream, timer or file is left. A process
 * per mock was rejected: 1,000 upstreams are to fit on the machine that runs the proxy under test.
 */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveControl } from "./control.ts";
import { HttpMock } from "./http_server.ts";
import { Tally } from "./server.ts";
import type { Fault, MockCounters, MockEvent, MockServer, ToolChange } from "./server.ts";

/** Options of {@link startMockHost}. */
export interface MockHostOptions {
  readonly servers: readonly MockServer[];
  /** Of the mocks that share one. @default 0, any free one */
  readonly port?: number;
  /** Whether each HTTP mock has a port of its own, so that any can be closed. @default false */
  readonly ownPorts?: boolean;
}

/** An entry of `mcpServers` that reaches a mock. */
export interface MockDefinition {
  readonly name: string;
  readonly protocol: "stdio" | "streamable-http" | "sse";
  readonly command?: string;
  readonly args?: readonly string[];
  readonly url?: string;
}

/** One start: of a process, or of a handshake over HTTP. */
export interface MockStart {
  readonly name: string;
  /** Unix milliseconds with a fraction. */
  readonly at: number;
}

/** A running host. */
export interface MockHost extends AsyncDisposable {
  readonly names: readonly string[];
  readonly port: number;
  /** Takes the same switches over HTTP; see `control.ts`. */
  readonly controlUrl: string;
  /** The address of an HTTP mock; throws for an unknown name and for a stdio mock. */
  readonly url: (name: string) => string;
  /** What a configuration needs to reach the mock. */
  readonly definition: (name: string) => MockDefinition;
  /** A runnable configuration of all mocks; `extra` gives further keys of an entry. */
  readonly config: (extra?: (name: string) => object) => { readonly mcpServers: readonly MockDefinition[] };
  /** Puts these faults in place of all others; undefined heals. A running stdio mock follows within 100 ms. */
  readonly setFault: (name: string, fault: Fault | readonly Fault[] | undefined) => void;
  /** Changes a mock's tools; those who listen are told. */
  readonly changeTools: (name: string, change: ToolChange) => void;
  /** Cuts every connection and closes every port, or opens them again with their sessions; stdio is not touched. */
  readonly network: (state: "up" | "down") => void;
  readonly counters: (name: string) => MockCounters;
  /** All starts in order. */
  readonly starts: () => readonly MockStart[];
}

/** Starts mocks; those over stdio are started by whoever runs their definition. */
export function startMockHost(options: MockHostOptions): MockHost {
  return new Host(options);
}

interface Mock {
  server: MockServer;
  readonly index: number;
  readonly tally: Tally;
  readonly starts: MockStart[];
  readonly http?: HttpMock;
  readonly hasOwnPort: boolean;
  listener?: Bun.Server<undefined> | undefined;
  /** Stays when the listener is closed. */
  port?: number;
  /** How much of the journal is counted. */
  readBytes: number;
}

class Host implements MockHost {
  readonly names: readonly string[];
  readonly #mocks = new Map<string, Mock>();
  readonly #byIndex: Mock[];
  readonly #control: Bun.Server<undefined>;
  readonly #folder: string;
  #shared: Bun.Server<undefined> | undefined;
  #port: number;
  #isDown = false;

  constructor({ servers, port = 0, ownPorts = false }: MockHostOptions) {
    this.names = servers.map(({ name }) => name);
    const twice = this.names.find((name, at) => this.names.indexOf(name) !== at);
    if (twice !== undefined) throw new Error(`Cannot host '${twice}': the name is taken`);
    this.#folder = mkdtempSync(join(tmpdir(), "mcpproxy-mocks-"));
    this.#byIndex = servers.map((server, index) => this.#makeMock(server, { index, ownPorts }));
    for (const mock of this.#byIndex) this.#mocks.set(mock.server.name, mock);
    this.#shared = this.#listen(port);
    this.#port = this.#shared.port ?? port;
    this.#control = serveControl(this);
    for (const mock of this.#byIndex) {
      if (mock.http === undefined) this.#writeSpec(mock);
      else if (mock.hasOwnPort) this.#openOwn(mock);
    }
  }

  get port(): number {
    return this.#port;
  }

  get controlUrl(): string {
    return `http://127.0.0.1:${this.#control.port}/control`;
  }

  url = (name: string): string => {
    const mock = this.#get(name);
    if (mock.http === undefined) throw new Error(`Cannot give the address of '${name}': it is a stdio mock`);
    if (mock.hasOwnPort) return `http://127.0.0.1:${mock.port}/mcp`;
    return `http://127.0.0.1:${this.#port}/m/${mock.index}/mcp`;
  };

  definition = (name: string): MockDefinition => {
    const mock = this.#get(name);
    const { transport } = mock.server;
    if (transport !== "stdio") {
      return { name, protocol: transport === "sse" ? "sse" : "streamable-http", url: this.url(name) };
    }
    if (mock.server.faults?.some(({ kind }) => kind === "not_found") === true) {
      return { name, protocol: "stdio", command: `mock-that-is-not-installed-${mock.index}`, args: [] };
    }
    const { command, args } = stdioCommand(`@${this.#file(mock, "json")}`);
    return {
      name,
      protocol: "stdio",
      command,
      args: [...args, "--journal", this.#file(mock, "journal"), "--control"],
    };
  };

  config = (
    extra: (name: string) => object = () => ({}),
  ): { readonly mcpServers: readonly MockDefinition[] } => ({
    mcpServers: this.names.map((name) => ({ ...this.definition(name), ...extra(name) })),
  });

  setFault = (name: string, fault: Fault | readonly Fault[] | undefined): void => {
    const mock = this.#get(name);
    const faults = fault === undefined ? [] : "kind" in fault ? [fault] : fault;
    mock.server = { ...mock.server, faults };
    if (mock.http === undefined) return this.#writeSpec(mock);
    mock.http.setFaults(faults);
    if (mock.hasOwnPort) this.#openOwn(mock);
  };

  changeTools = (name: string, change: ToolChange): void => {
    const mock = this.#get(name);
    if (mock.http !== undefined) return mock.http.changeTools(change);
    const { add = [], remove = [], replace = [] } = change;
    const news = new Map(replace.map((tool) => [tool.name, tool]));
    const kept = mock.server.tools.filter((tool) => !remove.includes(tool.name));
    mock.server = { ...mock.server, tools: [...kept.map((tool) => news.get(tool.name) ?? tool), ...add] };
    return this.#writeSpec(mock);
  };

  network = (state: "up" | "down"): void => {
    this.#isDown = state === "down";
    if (state === "down") {
      for (const { http } of this.#byIndex) http?.cut({ keepSessions: true });
      void this.#shared?.stop(true);
      this.#shared = undefined;
    } else this.#shared ??= this.#listen(this.#port);
    for (const mock of this.#byIndex) if (mock.hasOwnPort) this.#openOwn(mock);
  };

  counters = (name: string): MockCounters => {
    const mock = this.#get(name);
    this.#readJournal(mock);
    return mock.tally.totals(mock.http === undefined ? (pid) => existsSync(`/proc/${pid}`) : undefined);
  };

  starts = (): readonly MockStart[] => {
    for (const mock of this.#byIndex) this.#readJournal(mock);
    return this.#byIndex.flatMap(({ starts }) => starts).toSorted((a, b) => a.at - b.at);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    for (const mock of this.#byIndex) mock.http?.close();
    const listeners = [this.#shared, this.#control, ...this.#byIndex.map(({ listener }) => listener)];
    await Promise.all(listeners.flatMap((listener) => (listener === undefined ? [] : [listener.stop(true)])));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #get(name: string): Mock {
    const mock = this.#mocks.get(name);
    if (mock === undefined) throw new Error(`Cannot find the mock '${name}'`);
    return mock;
  }

  #makeMock(server: MockServer, { index, ownPorts }: { index: number; ownPorts: boolean }): Mock {
    const tally = new Tally();
    const starts: MockStart[] = [];
    const { name, transport } = server;
    const isHttp = transport !== "stdio";
    const refuses = server.faults?.some(({ kind }) => kind === "refuse") === true;
    const http = new HttpMock(isHttp ? server : { ...server, faults: [] }, (kind) => {
      const at = performance.timeOrigin + performance.now();
      tally.add({ kind, at, pid: 0 });
      if (kind === "start") starts.push({ name, at });
    });
    return {
      server,
      index,
      tally,
      starts,
      ...(isHttp && { http }),
      hasOwnPort: isHttp && (server.ownPort ?? (refuses || ownPorts)),
      readBytes: 0,
    };
  }

  #listen(port: number, mock?: Mock): Bun.Server<undefined> {
    return Bun.serve({
      hostname: "127.0.0.1",
      port,
      idleTimeout: 0,
      fetch: (request) => {
        if (mock?.http !== undefined) return mock.http.fetch(request);
        const at = /^https?:\/\/[^/]+\/m\/(\d+)\/mcp(?:\?|$)/.exec(request.url)?.[1];
        return this.#byIndex[Number(at ?? -1)]?.http?.fetch(request) ?? new Response(null, { status: 404 });
      },
    });
  }

  /** Opens or closes a mock's own port, as its faults and the network have it. */
  #openOwn(mock: Mock): void {
    const isClosed = this.#isDown || mock.http?.isRefusing === true;
    // Also when it is to be closed: the address must be known.
    if (mock.port === undefined || (!isClosed && mock.listener === undefined)) {
      mock.listener = this.#listen(mock.port ?? 0, mock);
      mock.port ??= mock.listener.port ?? 0;
    }
    if (!isClosed || mock.listener === undefined) return;
    void mock.listener.stop(true);
    mock.listener = undefined;
  }

  #file(mock: Mock, suffix: string): string {
    return join(this.#folder, `${mock.index}.${suffix}`);
  }

  #writeSpec(mock: Mock): void {
    const path = this.#file(mock, "json");
    writeFileSync(`${path}.new`, JSON.stringify(mock.server));
    renameSync(`${path}.new`, path);
  }

  #readJournal(mock: Mock): void {
    const path = this.#file(mock, "journal");
    if (mock.http !== undefined || !existsSync(path)) return;
    const bytes = readFileSync(path);
    const end = bytes.lastIndexOf(10) + 1;
    const text = bytes.subarray(mock.readBytes, end).toString();
    mock.readBytes = Math.max(mock.readBytes, end);
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const event = JSON.parse(line) as MockEvent;
      mock.tally.add(event);
      if (event.kind === "start") mock.starts.push({ name: mock.server.name, at: event.at });
    }
  }
}

/** The command line of a stdio mock, from source or from the compiled binary; `spec` is JSON or `@FILE`. */
function stdioCommand(spec: string): { readonly command: string; readonly args: readonly string[] } {
  const isCompiled = import.meta.url.includes("$bunfs");
  const program = isCompiled ? [] : [join(import.meta.dir, "../main.ts")];
  return { command: process.execPath, args: [...program, "mock", "--stdio-server", "--spec", spec] };
}
