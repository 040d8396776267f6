/**
 * What a mock server is, as plain data, and what is counted of it.
 *
 * Owns the shapes of mocks, their faults and counters; behaviour is in `wire.ts` and the transports. Invariant: all
 * of it survives JSON, so a profile is a file and a fault can be set from another process. Mocks as classes to
 * derive from were rejected: a stdio mock is another process and takes data only.
 */
import type { ToolDefinition } from "../core/model.ts";
import type { Spread } from "./random.ts";

/** Ways to serve a mock. */
export type MockTransport = "stdio" | "streamable_http" | "sse";

/** Eras a mock speaks; `both` decides by each request. SSE is always legacy. */
export type MockEra = "legacy" | "modern" | "both";

/** Kinds of lines that are no answer. */
export type GarbageShape =
  | "text"
  | "half_json"
  | "bom"
  | "crlf"
  | "unknown_id"
  | "duplicate_id"
  | "batch"
  | "deep_nesting"
  | "binary";

/** What a mock does wrong (SPEC §11). Times in milliseconds; over HTTP an `exit` is a connection that is cut. */
export type Fault =
  /** Never answers: anything (`connect`), the handshake, the list, or calls after the first `afterCalls`. */
  | {
      readonly kind: "hang";
      readonly at: "connect" | "handshake" | "list" | "call";
      readonly afterCalls?: number;
    }
  /** Leaves at its start, at the first handshake message, or at the call after `afterCalls`. */
  | {
      readonly kind: "exit";
      readonly at: "start" | "handshake" | "call";
      readonly code: number;
      readonly stderr?: string;
      readonly afterMs?: number;
      readonly afterCalls?: number;
    }
  /** Noise before each answer, all shapes but `bom` unless named; `only`: noise and no answer. */
  | { readonly kind: "garbage"; readonly shapes?: readonly GarbageShape[]; readonly only?: boolean }
  /** Silent at first; `firstRunOnly`: only until a handshake once succeeded, as with a package download. */
  | { readonly kind: "slow_start"; readonly ms: number; readonly firstRunOnly?: boolean }
  /** The command does not exist; over HTTP, a 404. */
  | { readonly kind: "not_found" }
  /** The port is closed; a mock on the shared port cuts the connection before any byte instead. */
  | { readonly kind: "refuse" }
  /** Answers with a status instead: 401, 403, 404, 429, 503, 302… */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly retryAfterSeconds?: number;
      readonly location?: string;
      /** @default "any" */
      readonly at?: "any" | "handshake" | "call";
    }
  /** Cuts the connection within an answer, or (`stream`) cuts standing streams `afterMs` after they opened. */
  | { readonly kind: "drop"; readonly at: "handshake" | "call" | "stream"; readonly afterMs?: number }
  /** Changes its first tool, with list_changed, after so many calls or every so often. */
  | { readonly kind: "change_schema"; readonly afterCalls?: number; readonly everyMs?: number }
  /** Crashes in the call of that number or that long after its start; over HTTP it is back at once, without sessions. */
  | { readonly kind: "crash_after"; readonly calls?: number; readonly ms?: number }
  /** Log notifications on standing streams, bytes on stderr at the start, a reply of that size to every call. */
  | {
      readonly kind: "flood";
      readonly perSecond?: number;
      readonly stderrBytes?: number;
      readonly replyBytes?: number;
    }
  | { readonly kind: "zero_tools" }
  /** Very many tools, one very long description, or a cursor that leads in a circle. */
  | {
      readonly kind: "huge_list";
      readonly tools?: number;
      readonly pageSize?: number;
      readonly descriptionBytes?: number;
      readonly loop?: boolean;
    }
  /** Up and down in turn; a process leaves at the end of each `upMs`. */
  | { readonly kind: "flap"; readonly upMs: number; readonly downMs: number }
  /** Answers that never end: a byte each `everyMs`, endless blanks, endless comments, a gzip that inflates to `bytes`. */
  | {
      readonly kind: "drip";
      readonly shape: "byte" | "chunked" | "comments" | "gzip_bomb";
      /** @default "call" */
      readonly at?: "any" | "handshake" | "call";
      /** @default 1000 */
      readonly everyMs?: number;
      /** @default 64 MiB */
      readonly bytes?: number;
    };

/** The name of a fault. */
export type FaultKind = Fault["kind"];

/** One mock server. */
export interface MockServer {
  readonly name: string;
  readonly transport: MockTransport;
  readonly era: MockEra;
  readonly tools: readonly ToolDefinition[];
  /** Tools on a page. @default all on one */
  readonly pageSize?: number;
  /** Time of a call. @default 0 */
  readonly latencyMs?: number | Spread;
  readonly faults?: readonly Fault[];
  /** Adds the tools, prompts and resources the MCP conformance suite knows. @default false */
  readonly conformance?: boolean;
  /** A port of its own, so that it can be closed. @default whether it starts with the fault `refuse` */
  readonly ownPort?: boolean;
  /** Decides latencies. @default the name */
  readonly seed?: number;
}

/** Mocks and the seed they came from; as JSON, the file of `mcpproxy mock --profile`. */
export interface MockProfile {
  readonly seed: number;
  readonly servers: readonly MockServer[];
}

/** A change of what a mock offers; list_changed is sent. */
export interface ToolChange {
  readonly add?: readonly ToolDefinition[];
  readonly remove?: readonly string[];
  /** Takes the place of tools with the same name. */
  readonly replace?: readonly ToolDefinition[];
}

/**
 * What is counted. `start`: a process began, or a client began a handshake over HTTP (`server/discover` and the
 * `initialize` that follows its refusal are one; a modern health probe looks the same and counts). `connect`: a
 * handshake was answered. `call`, `done`, `cancelled`: calls that arrived, were answered, were given up by the client; `lost`: by the mock.
 */
export type MockEventKind =
  | "start"
  | "discover"
  | "initialize"
  | "connect"
  | "list"
  | "ping"
  | "call"
  | "done"
  | "cancelled"
  | "lost"
  | "message";

/** One counted thing, as a line of a stdio mock's journal. */
export interface MockEvent {
  readonly kind: MockEventKind;
  /** Unix milliseconds with a fraction. */
  readonly at: number;
  readonly pid: number;
}

/** Totals of one mock since the host began. */
export interface MockCounters {
  readonly starts: number;
  readonly connections: number;
  readonly discovers: number;
  readonly initializes: number;
  readonly lists: number;
  readonly pings: number;
  readonly calls: number;
  readonly completed: number;
  readonly cancelled: number;
  /** Calls neither answered nor given up; a process that left takes its calls with it. */
  readonly inFlight: number;
  /** Messages of any kind. */
  readonly messages: number;
  readonly lastStartAt: number | undefined;
}

/** Adds up events. */
export class Tally {
  readonly #counts = new Map<MockEventKind, number>();
  #openCalls = new Map<number, number>();
  #lastStartAt: number | undefined;

  /** Takes one event. */
  add({ kind, at, pid }: MockEvent): void {
    this.#counts.set(kind, this.count(kind) + 1);
    if (kind === "start") this.#lastStartAt = at;
    const step = kind === "call" ? 1 : kind === "done" || kind === "cancelled" || kind === "lost" ? -1 : 0;
    if (step !== 0) this.#openCalls.set(pid, (this.#openCalls.get(pid) ?? 0) + step);
  }

  /** How often a kind was seen. */
  count(kind: MockEventKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** The totals; calls of processes that `isAlive` denies are not in flight. */
  totals(isAlive: (pid: number) => boolean = () => true): MockCounters {
    const open = [...this.#openCalls].filter(([pid]) => isAlive(pid));
    return {
      starts: this.count("start"),
      connections: this.count("connect"),
      discovers: this.count("discover"),
      initializes: this.count("initialize"),
      lists: this.count("list"),
      pings: this.count("ping"),
      calls: this.count("call"),
      completed: this.count("done"),
      cancelled: this.count("cancelled"),
      inFlight: open.reduce((all, [, calls]) => all + calls, 0),
      messages: this.count("message"),
      lastStartAt: this.#lastStartAt,
    };
  }
}
