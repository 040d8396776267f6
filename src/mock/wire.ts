/**
 * What a mock server says, in both eras, apart from how it is carried.
 *
 * Owns the protocol by hand: handshakes, lists, calls, subscriptions, and those faults that are a matter of what is
 * answered when. Closing, cutting and delaying bytes is for the transports, which are told by `Outcome.fault`. Invariant:
 * every call that arrives is counted before anything else happens to it. The SDK's server was rejected: it
 * costs a stdio mock more than all the rest, and could not misbehave.
 */
import type { ToolDefinition } from "../core/model.ts";
import { bigText, enlarge } from "./noise.ts";
import type { Reply } from "./noise.ts";
import { aborted, isModernMessage, LOST, META, pause } from "./message.ts";
import type { Message, Peer, Result, Sink } from "./message.ts";
import { draw, seededRandom } from "./random.ts";
import type { Random } from "./random.ts";
import type { Fault, FaultKind, MockEventKind, MockServer, ToolChange } from "./server.ts";

/** The modern revision. */
const MODERN_VERSION = "2026-07-28";
const LEGACY_VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const METHOD_NOT_FOUND = -32_601;
const INVALID_PARAMS = -32_602;
/** An unsupported protocol version (revision 2026-07-28). */
const UNSUPPORTED_VERSION = -32_022;
/** A handshake this soon after a slow one is part of it: a probe and the `initialize` after it. */
const SAME_START_MS = 2_000;
const FLOOD_TICK_MS = 10;

/** Faults that the transport carries out. */
export type TransportFault = Extract<
  Fault,
  { kind: "exit" | "crash_after" | "status" | "drop" | "drip" | "refuse" | "not_found" | "garbage" }
>;

/** What is to become of a request: a reply, a fault instead of it or upon it, or silence. */
export interface Outcome {
  readonly reply?: Reply;
  readonly fault?: TransportFault;
}

/** Options of {@link MockWire}. */
export interface WireOptions {
  /** Told of everything that counts. */
  readonly record: (kind: MockEventKind) => void;
  /** Whether a slow start is over once and for all after its time, as in a process. @default false */
  readonly isProcess?: boolean;
  /** Whether a handshake succeeded in an earlier process. @default false */
  readonly hasConnected?: boolean;
}

type Stage = "handshake" | "list" | "call" | "other";

/** One mock server's mind. */
export class MockWire {
  readonly server: MockServer;
  readonly #options: WireOptions;
  readonly #random: Random;
  readonly #sinks = new Map<Sink, { readonly id: string | number | undefined; isBusy: boolean }>();
  #faults: readonly Fault[];
  #tools: readonly ToolDefinition[];
  #listed: readonly ToolDefinition[] | undefined;
  #hasConnected: boolean;
  #calls = 0;
  #changes = 0;
  #slowUntil = Number.NEGATIVE_INFINITY;
  #probedAt = Number.NEGATIVE_INFINITY;
  #timers: ReturnType<typeof setInterval>[] = [];

  constructor(server: MockServer, options: WireOptions) {
    this.server = server;
    this.#options = options;
    this.#random = seededRandom(server.seed ?? server.name);
    this.#faults = server.faults ?? [];
    this.#tools = server.tools;
    this.#hasConnected = options.hasConnected ?? false;
    if (options.isProcess === true) this.#slowUntil = performance.now() + this.#slowMs();
    this.#setTimers();
  }

  /** The fault of a kind, when it is switched on. */
  fault<K extends FaultKind>(kind: K): Extract<Fault, { kind: K }> | undefined {
    return this.#faults.find((fault): fault is Extract<Fault, { kind: K }> => fault.kind === kind);
  }

  /** Switches faults: these and no others are in force from now on, counted from now. */
  setFaults(faults: readonly Fault[]): void {
    const wasListed = this.#tools.length > 0 && this.fault("zero_tools") === undefined;
    this.#faults = faults;
    this.#listed = undefined;
    this.#calls = 0;
    this.#setTimers();
    if (wasListed !== (this.fault("zero_tools") === undefined)) this.#announce();
  }

  /** The tools as they are now, without what faults do to the list. */
  get tools(): readonly ToolDefinition[] {
    return this.#tools;
  }

  /** Changes the tools and tells those who listen. */
  changeTools({ add = [], remove = [], replace = [] }: ToolChange): void {
    const news = new Map(replace.map((tool) => [tool.name, tool]));
    const kept = this.#tools.filter(({ name }) => !remove.includes(name));
    this.#tools = [...kept.map((tool) => news.get(tool.name) ?? tool), ...add];
    this.#listed = undefined;
    this.#announce();
  }

  /** Adds a standing stream; returns how to take it off. */
  subscribe(sink: Sink, id?: string | number): () => void {
    this.#sinks.set(sink, { id, isBusy: false });
    return () => this.#sinks.delete(sink);
  }

  /** Stops what the mock does by itself. */
  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#sinks.clear();
  }

  /** Answers a request, and takes a notification, which has an empty outcome. */
  async answer(message: Message, peer: Peer): Promise<Outcome> {
    this.#options.record("message");
    const { id, method } = message;
    if (id === undefined || method === undefined) return {};
    const stage = stageOf(method);
    this.#count(method, stage);
    const fault = this.#transportFault(stage);
    if (fault !== undefined && fault.kind !== "garbage" && fault.kind !== "drip") {
      if (stage === "call") this.#options.record("lost");
      return { fault };
    }
    if (this.#isHanging(stage)) {
      await aborted(peer.signal);
      if (stage === "call") this.#recordEnd(peer);
      return {};
    }
    const body = await this.#resultOf(message, peer);
    if (body === undefined) return {};
    if (stage === "call") this.#options.record("done");
    return { reply: { jsonrpc: "2.0", id, ...body }, ...(fault && { fault }) };
  }

  #count(method: string, stage: Stage): void {
    const { record } = this.#options;
    if (method === "server/discover" || method === "initialize") {
      record(method === "initialize" ? "initialize" : "discover");
      // A probe that will be refused and the `initialize` after it are one start.
      const isSecond = method === "initialize" && performance.now() - this.#probedAt < SAME_START_MS;
      if (this.#options.isProcess !== true && !isSecond) record("start");
      const isRefused = method === "server/discover" && this.server.era === "legacy";
      this.#probedAt = isRefused ? performance.now() : Number.NEGATIVE_INFINITY;
    } else if (method === "ping") record("ping");
    else if (stage === "list") record("list");
    else if (stage === "call") {
      this.#calls += 1;
      record("call");
      const change = this.fault("change_schema");
      if (change?.afterCalls !== undefined && this.#calls === change.afterCalls) this.#changeSchema();
    }
  }

  #recordEnd(peer: Peer): void {
    this.#options.record(peer.signal.reason === LOST ? "lost" : "cancelled");
  }

  #isHanging(stage: Stage): boolean {
    const hang = this.fault("hang");
    if (hang === undefined) return false;
    if (hang.at === "connect") return true;
    return hang.at === stage && (stage !== "call" || this.#calls > (hang.afterCalls ?? 0));
  }

  /** The first fault of the transport that is due now. */
  #transportFault(stage: Stage): TransportFault | undefined {
    return this.#faults.find((fault): fault is TransportFault => {
      switch (fault.kind) {
        case "refuse":
        case "not_found":
        case "garbage":
          return true;
        case "status":
        case "drip":
          return isDue(fault.at ?? (fault.kind === "drip" ? "call" : "any"), stage);
        case "drop":
          return fault.at === stage;
        case "exit":
          if (fault.at === "call") return stage === "call" && this.#calls > (fault.afterCalls ?? 0);
          return fault.at === "start" || stage === "handshake";
        case "crash_after":
          return stage === "call" && fault.calls !== undefined && this.#calls >= fault.calls;
        case "change_schema":
        case "flap":
        case "flood":
        case "hang":
        case "huge_list":
        case "slow_start":
        case "zero_tools":
          break;
      }
      return false;
    });
  }

  /** Begins again after a crash that took no process with it. */
  restart(): void {
    this.#calls = 0;
    this.#setTimers();
  }

  async #resultOf(message: Message, peer: Peer): Promise<Result | undefined> {
    const { method = "", params = {} } = message;
    const isModern = isModernMessage(message);
    if (
      isModern ? this.server.era === "legacy" && method === "server/discover" : this.server.era === "modern"
    ) {
      return isModern ? notFound(method) : unsupportedVersion(params["protocolVersion"]);
    }
    if (method === "subscriptions/listen") return this.#listen(message, peer);
    const result = await this.#bareResult(message, peer);
    if (result === undefined || "error" in result) return result;
    if (!isModern) return { result };
    const cached =
      method === "tools/call" || method === "prompts/get" ? {} : { ttlMs: 0, cacheScope: "private" };
    const _meta = { [`${META}serverInfo`]: this.#info() };
    return { result: { resultType: "complete", _meta, ...cached, ...result } };
  }

  async #bareResult(message: Message, peer: Peer): Promise<Result | undefined> {
    const { method = "", params = {} } = message;
    switch (method) {
      case "server/discover":
      case "initialize":
        await pause(this.#slowStart(), peer.signal);
        if (peer.signal.aborted) return undefined;
        return this.#handshake(method, params);
      case "ping":
      case "logging/setLevel":
        return {};
      case "tools/list":
        return this.#page(params["cursor"]);
      case "tools/call":
        return this.#call(params, peer, message);
      default:
        if (this.server.conformance !== true) return notFound(method);
        return (await import("./conformance.ts")).answerOther(message) ?? notFound(method);
    }
  }

  #handshake(method: string, params: Result): Result {
    this.#options.record("connect");
    this.#hasConnected = true;
    const { conformance = false, era } = this.server;
    const capabilities = {
      tools: { listChanged: true },
      logging: {},
      ...(conformance && { prompts: {}, resources: { subscribe: true }, completions: {} }),
    };
    if (method === "server/discover") {
      const older = era === "both" ? LEGACY_VERSIONS : [];
      return { supportedVersions: [MODERN_VERSION, ...older], capabilities };
    }
    const wanted = String(params["protocolVersion"]);
    const protocolVersion = LEGACY_VERSIONS.includes(wanted) ? wanted : LEGACY_VERSIONS[0];
    return { protocolVersion, capabilities, serverInfo: this.#info() };
  }

  #info(): { readonly name: string; readonly version: string } {
    return { name: this.server.name, version: "1.0.0" };
  }

  /** How long the first answer is still to wait. */
  #slowStart(): number {
    const now = performance.now();
    const ms = this.#slowMs();
    if (this.#options.isProcess !== true && now > this.#slowUntil + SAME_START_MS) this.#slowUntil = now + ms;
    return ms === 0 ? 0 : Math.max(0, this.#slowUntil - now);
  }

  #slowMs(): number {
    const slow = this.fault("slow_start");
    return slow === undefined || (slow.firstRunOnly === true && this.#hasConnected) ? 0 : slow.ms;
  }

  async #allTools(): Promise<readonly ToolDefinition[]> {
    if (this.server.conformance !== true) return this.#tools;
    return [...(await import("./conformance.ts")).CONFORMANCE_TOOLS, ...this.#tools];
  }

  async #page(cursor: unknown): Promise<Result> {
    const huge = this.fault("huge_list");
    if (this.fault("zero_tools") !== undefined) return { tools: [] };
    if (this.#listed === undefined) {
      const tools = await this.#allTools();
      this.#listed = huge === undefined ? tools : enlarge(tools, huge);
    }
    const size = huge?.pageSize ?? this.server.pageSize ?? (huge === undefined ? this.#listed.length : 1_000);
    const start = Number(cursor ?? 0);
    const end = start + Math.max(1, size);
    const next = end < this.#listed.length ? end : huge?.loop === true ? 0 : undefined;
    return {
      tools: this.#listed.slice(start, end),
      ...(next !== undefined && { nextCursor: String(next) }),
    };
  }

  async #call(params: Result, peer: Peer, message: Message): Promise<Result | undefined> {
    const name = String(params["name"]);
    const args = (params["arguments"] ?? {}) as Result;
    // What a test asks of this one call: `{"_mock": {"delayMs": 50}}`.
    const wish = (args["_mock"] ?? {}) as {
      delayMs?: number;
      bytes?: number;
      isError?: boolean;
      hang?: boolean;
    };
    await pause(draw(this.#random, this.server.latencyMs ?? 0) + (wish.delayMs ?? 0), peer.signal);
    if (wish.hang === true) await aborted(peer.signal);
    if (peer.signal.aborted) {
      this.#recordEnd(peer);
      return undefined;
    }
    if (this.server.conformance === true) {
      const result = await (await import("./conformance.ts")).callConformance(message, peer);
      if (result !== undefined) return result;
    }
    if (!this.#tools.some((tool) => tool.name === name)) {
      return { error: { code: INVALID_PARAMS, message: `Unknown tool: ${name}` } };
    }
    const bytes = wish.bytes ?? this.fault("flood")?.replyBytes;
    const text = bytes === undefined ? JSON.stringify({ tool: name, arguments: args }) : bigText(bytes);
    return { content: [{ type: "text", text }], isError: wish.isError === true };
  }

  async #listen({ id, params = {} }: Message, peer: Peer): Promise<undefined> {
    const _meta = { [`${META}subscriptionId`]: id };
    const notifications = params["notifications"] ?? {};
    const method = "notifications/subscriptions/acknowledged";
    void peer.notify({ jsonrpc: "2.0", method, params: { notifications, _meta } });
    const leave = this.subscribe(peer.notify, id);
    await aborted(peer.signal);
    leave();
  }

  #announce(): void {
    this.#broadcast("notifications/tools/list_changed", {});
  }

  #broadcast(method: string, params: Result): void {
    for (const [sink, stream] of this.#sinks) {
      const { id } = stream;
      const own = id === undefined ? params : { ...params, _meta: { [`${META}subscriptionId`]: id } };
      void sink({ jsonrpc: "2.0", method, ...(Object.keys(own).length > 0 && { params: own }) });
    }
  }

  #changeSchema(): void {
    const [first] = this.#tools;
    if (first === undefined) return;
    this.#changes += 1;
    const description = `${(first.description ?? "").split(" (changed ")[0]} (changed ${this.#changes})`;
    const changed = { [`added_${this.#changes}`]: { type: "string" } };
    const properties = { ...(first.inputSchema["properties"] as object | undefined), ...changed };
    this.changeTools({
      replace: [{ ...first, description, inputSchema: { ...first.inputSchema, properties } }],
    });
  }

  #setTimers(): void {
    for (const timer of this.#timers) clearInterval(timer);
    const everyMs = this.fault("change_schema")?.everyMs;
    const perSecond = this.fault("flood")?.perSecond;
    this.#timers = [
      ...(everyMs === undefined ? [] : [setInterval(() => this.#changeSchema(), everyMs)]),
      ...(perSecond === undefined ? [] : [setInterval(() => this.#flood(perSecond), FLOOD_TICK_MS)]),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  /** Sends what a tick's share of the flood is, except to those still busy with the last one. */
  #flood(perSecond: number): void {
    const message = {
      jsonrpc: "2.0",
      method: "notifications/message",
      params: { level: "info", data: "flood" },
    };
    for (const [sink, stream] of this.#sinks) {
      for (let sent = 0; sent < (perSecond * FLOOD_TICK_MS) / 1_000 && !stream.isBusy; sent += 1) {
        const written = sink(message);
        if (!(written instanceof Promise)) continue;
        stream.isBusy = true;
        void written.catch(() => {}).then(() => (stream.isBusy = false));
      }
    }
  }
}

function stageOf(method: string): Stage {
  if (method === "initialize" || method === "server/discover") return "handshake";
  return method === "tools/list" ? "list" : method === "tools/call" ? "call" : "other";
}

function isDue(at: "any" | "handshake" | "call", stage: Stage): boolean {
  return at === "any" || at === stage;
}

function notFound(method: string): Result {
  return { error: { code: METHOD_NOT_FOUND, message: `Method not found: ${method}` } };
}

function unsupportedVersion(requested: unknown): Result {
  const data = { supported: [MODERN_VERSION], ...(requested === undefined ? {} : { requested }) };
  return { error: { code: UNSUPPORTED_VERSION, message: "Unsupported protocol version", data } };
}
