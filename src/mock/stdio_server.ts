/**
 * One mock server on stdin and stdout: `mcpproxy mock --stdio-server --spec JSON|@FILE [--journal FILE] [--control]`.
 *
 * Owns the lines of the pipe and the faults of a process: leaving, silence, garbage, bytes that drip. Invariants: it
 * imports no package and no floor at run time, so that a hundred of them are cheap; what counts is written to the journal before it
 * is answered. The process itself (argv, exit) is handed in by `cli/mock.ts`, as the layout asks.
 */
import { appendFileSync, existsSync, readFileSync, statSync } from "node:fs";
import { LOST, pause } from "./message.ts";
import type { Message, Result } from "./message.ts";
import { addNoise, stderrFlood } from "./noise.ts";
import type { Reply } from "./noise.ts";
import { MockWire } from "./wire.ts";
import type { TransportFault } from "./wire.ts";
import type { Fault, MockEventKind, MockServer } from "./server.ts";

const CONTROL_POLL_MS = 100;
const DRIP_MS = 1_000;
const CRASH_CODE = 1;

/** The process a mock runs in. */
export interface StdioEdge {
  readonly stdin: () => ReadableStream<Uint8Array>;
  /** Writes to stdout; a promise while the reader is slow. */
  readonly write: (text: string) => unknown;
  readonly stderr: (text: string) => void;
  readonly exit: (code: number) => never;
  readonly pid: number;
}

/** Options of {@link runStdioMock}. */
export interface StdioMockOptions {
  /** The mock as JSON, or `@` and the file that holds it. */
  readonly spec: string;
  /** File that gets a line for each thing that counts. */
  readonly journal?: string | undefined;
  /** Whether changes of the spec's file take effect while it runs. @default false */
  readonly isControlled?: boolean;
}

/** Serves until stdin ends or a fault ends the process. */
export async function runStdioMock(options: StdioMockOptions, edge: StdioEdge): Promise<never> {
  return new StdioMock(options, edge).run();
}

class StdioMock {
  readonly #options: StdioMockOptions;
  readonly #edge: StdioEdge;
  readonly #wire: MockWire;
  readonly #running = new Map<string | number, AbortController>();
  readonly #asked = new Map<string, PromiseWithResolvers<unknown>>();
  #specText: string;
  #specStamp = "";
  #timers: ReturnType<typeof setTimeout>[] = [];

  constructor(options: StdioMockOptions, edge: StdioEdge) {
    this.#options = options;
    this.#edge = edge;
    this.#specText = this.#readSpec();
    const server = JSON.parse(this.#specText) as MockServer;
    const isFirstRun = server.faults?.some((fault) => fault.kind === "slow_start") !== true;
    const record = (kind: MockEventKind): void => this.#record(kind);
    const hasConnected = !isFirstRun && this.#journalHas("connect");
    this.#wire = new MockWire(server, { record, isProcess: true, hasConnected });
  }

  async run(): Promise<never> {
    const { stdin } = this.#edge;
    this.#record("start");
    await this.#arm(true);
    this.#wire.subscribe((message) => this.#send(message));
    if (this.#options.isControlled === true) setInterval(() => this.#reload(), CONTROL_POLL_MS).unref();
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stdin()) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.trim() !== "") this.#receive(line);
    }
    for (const running of this.#running.values()) running.abort(LOST);
    return this.#edge.exit(0);
  }

  #readSpec(): string {
    const { spec } = this.#options;
    return spec.startsWith("@") ? readFileSync(spec.slice(1), "utf8") : spec;
  }

  #journalHas(kind: MockEventKind): boolean {
    const { journal } = this.#options;
    if (journal === undefined || !existsSync(journal)) return false;
    return readFileSync(journal, "utf8").includes(`"kind":"${kind}"`);
  }

  #record(kind: MockEventKind): void {
    const { journal } = this.#options;
    if (journal === undefined) return;
    const at = performance.timeOrigin + performance.now();
    appendFileSync(journal, `${JSON.stringify({ kind, at, pid: this.#edge.pid })}\n`);
  }

  /** Starts the faults that come by themselves. */
  async #arm(isStart: boolean): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    const exit = this.#wire.fault("exit");
    const flood = this.#wire.fault("flood");
    const afterMs = this.#wire.fault("crash_after")?.ms ?? this.#wire.fault("flap")?.upMs;
    this.#timers = afterMs === undefined ? [] : [setTimeout(() => this.#leave(CRASH_CODE), afterMs)];
    if (isStart && exit?.at === "start") {
      await Bun.sleep(exit.afterMs ?? 0);
      this.#leave(exit.code, exit.stderr);
    }
    if (isStart && flood?.stderrBytes !== undefined) {
      for (const piece of stderrFlood(flood.stderrBytes)) this.#edge.stderr(piece);
    }
  }

  #leave(code: number, stderr = ""): never {
    if (stderr !== "") this.#edge.stderr(stderr);
    return this.#edge.exit(code);
  }

  /** Takes over what was changed in the spec's file. */
  #reload(): void {
    const { spec, isControlled } = this.#options;
    if (isControlled !== true || !spec.startsWith("@")) return;
    try {
      const { mtimeMs, ino } = statSync(spec.slice(1));
      if (`${mtimeMs} ${ino}` === this.#specStamp) return;
      this.#specStamp = `${mtimeMs} ${ino}`;
      const text = this.#readSpec();
      if (text === this.#specText) return;
      const [before, now] = [JSON.parse(this.#specText) as MockServer, JSON.parse(text) as MockServer];
      this.#specText = text;
      this.#takeOver(before, now);
    } catch {
      // The host is gone or has not finished writing; the last spec stays.
    }
  }

  #takeOver(before: MockServer, now: MockServer): void {
    const faults: readonly Fault[] = now.faults ?? [];
    if (JSON.stringify(before.faults ?? []) !== JSON.stringify(faults)) {
      this.#wire.setFaults(faults);
      void this.#arm(false);
    }
    if (JSON.stringify(before.tools) !== JSON.stringify(now.tools)) {
      this.#wire.changeTools({ remove: this.#wire.tools.map(({ name }) => name), add: now.tools });
    }
  }

  #receive(line: string): void {
    this.#reload();
    let message: Message;
    try {
      message = JSON.parse(line) as Message;
    } catch {
      void this.#send({ jsonrpc: "2.0", id: null, error: { code: -32_700, message: "Parse error" } });
      return;
    }
    const { method, id, params } = message;
    if (method === undefined && id !== undefined) return this.#settle(message);
    if (method === "notifications/cancelled")
      this.#running.get(params?.["requestId"] as string | number)?.abort();
    void this.#serve(message);
  }

  async #serve(message: Message): Promise<void> {
    const control = new AbortController();
    const { id } = message;
    if (id !== undefined) this.#running.set(id, control);
    const { reply, fault } = await this.#wire.answer(message, {
      signal: control.signal,
      notify: (notification) => this.#send(notification),
      ask: (method, params) => this.#ask(method, params),
    });
    if (id !== undefined) this.#running.delete(id);
    if (fault !== undefined) await this.#misbehave(fault, { message, reply, signal: control.signal });
    else if (reply !== undefined) await this.#send(reply);
  }

  async #misbehave(
    fault: TransportFault,
    { message, reply, signal }: { message: Message; reply: Reply | undefined; signal: AbortSignal },
  ): Promise<void> {
    switch (fault.kind) {
      case "exit":
        return this.#leave(fault.code, fault.stderr);
      case "crash_after":
      case "refuse":
      case "not_found":
        return this.#leave(CRASH_CODE);
      case "drop":
        await this.#edge.write(`{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"resu`);
        return this.#leave(CRASH_CODE);
      case "status": {
        const error = { code: -32_000, message: `Status ${fault.status}` };
        await this.#send({ jsonrpc: "2.0", id: message.id, error });
        return;
      }
      case "garbage": {
        if (reply === undefined) return;
        const { before, line, after } = addNoise(reply, fault);
        await this.#edge.write([...before, ...(line === undefined ? [] : [line]), ...after, ""].join("\n"));
        return;
      }
      case "drip":
        return this.#drip(fault, reply, signal);
    }
  }

  /** Sends what never comes to an end; over a pipe the bomb is one line of its size. */
  async #drip(
    { shape, everyMs = DRIP_MS, bytes = 2 ** 26 }: Extract<Fault, { kind: "drip" }>,
    reply: Reply | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (reply === undefined) return;
    if (shape === "gzip_bomb") return void (await this.#edge.write(`${" ".repeat(bytes)}\n`));
    const text = `${JSON.stringify(reply)}\n`;
    const endless = shape === "chunked" ? " " : shape === "comments" ? "\n" : undefined;
    for (let at = 0; !signal.aborted; at += 1) {
      const piece = endless ?? text.charAt(at);
      if (piece === "") return;
      await this.#edge.write(piece);
      await pause(everyMs, signal);
    }
  }

  #send(message: object): unknown {
    return this.#edge.write(`${JSON.stringify(message)}\n`);
  }

  #ask(method: string, params: object): Promise<unknown> {
    const id = `mock-${this.#asked.size + 1}`;
    const answer = Promise.withResolvers<unknown>();
    this.#asked.set(id, answer);
    void this.#send({ jsonrpc: "2.0", id, method, params });
    return answer.promise;
  }

  #settle({ id, result, error }: Message): void {
    const asked = this.#asked.get(String(id));
    if (error === undefined) asked?.resolve(result);
    else asked?.reject(new Error((error as Result)["message"] as string));
  }
}
