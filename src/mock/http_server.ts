/**
 * One mock server over HTTP: streamable with sessions, stateless in the modern era, or the older SSE.
 *
 * Owns sessions, streams and the faults of connections. Invariants: a modern request is given up when its
 * response stream closes, a legacy call only by `notifications/cancelled`; after `cut()` no stream and no request of before
 * is open. The listener is the host's. The SDK's transports were rejected: they cannot be made to misbehave.
 */
import { isModernMessage, LOST } from "./message.ts";
import type { Message, Result } from "./message.ts";
import { addNoise } from "./noise.ts";
import type { Reply } from "./noise.ts";
import { drip, EventStream, resetConnection } from "./stream.ts";
import { MockWire } from "./wire.ts";
import type { Outcome, TransportFault } from "./wire.ts";
import type { Fault, MockEventKind, MockServer, ToolChange } from "./server.ts";

interface Session {
  readonly running: Map<string | number, AbortController>;
  readonly asked: Map<string, PromiseWithResolvers<unknown>>;
  /** The stream that carries everything with the SSE transport. */
  readonly stream?: EventStream;
}

/** One mock behind a path or a port. */
export class HttpMock {
  readonly server: MockServer;
  readonly #wire: MockWire;
  readonly #sessions = new Map<string, Session>();
  readonly #streams = new Set<EventStream>();
  readonly #requests = new Set<AbortController>();
  #timers: ReturnType<typeof setTimeout>[] = [];
  #isDown = false;
  #asked = 0;

  constructor(server: MockServer, record: (kind: MockEventKind) => void) {
    this.server = server;
    this.#wire = new MockWire(server, { record });
    this.#arm();
  }

  /** Whether its port is to be closed. */
  get isRefusing(): boolean {
    return this.#wire.fault("refuse") !== undefined;
  }

  /** Puts these faults in place of all others. */
  setFaults(faults: readonly Fault[]): void {
    this.#wire.setFaults(faults);
    this.#isDown = false;
    this.#arm();
  }

  /** Changes the tools and tells those who listen. */
  changeTools(change: ToolChange): void {
    this.#wire.changeTools(change);
  }

  /** Cuts every connection; sessions are forgotten too, unless they are to be kept. */
  cut({ keepSessions = false }: { readonly keepSessions?: boolean } = {}): void {
    for (const stream of this.#streams) stream.reset();
    for (const request of this.#requests) request.abort(LOST);
    this.#streams.clear();
    this.#requests.clear();
    if (!keepSessions) this.#sessions.clear();
  }

  /** Ends what the mock does by itself and every connection. */
  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.cut();
    this.#wire.close();
  }

  /** Answers one request. */
  async fetch(request: Request): Promise<Response> {
    if (this.#isDown || this.isRefusing) return resetConnection();
    if (this.server.conformance === true && !isLocal(request))
      return new Response("Forbidden", { status: 403 });
    const isSse = this.server.transport === "sse";
    if (request.method === "GET") return isSse ? this.#openSse(request) : this.#openStanding(request);
    if (request.method === "DELETE" && !isSse) return this.#endSession(request);
    if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
    let message: Message;
    try {
      message = (await request.json()) as Message;
    } catch {
      return rpcError(400, -32_700, "Parse error");
    }
    if (Array.isArray(message)) return rpcError(400, -32_600, "Batches are not supported");
    return isSse ? this.#postSse(request, message) : this.#post(request, message);
  }

  #arm(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    const flap = this.#wire.fault("flap");
    const crashMs = this.#wire.fault("crash_after")?.ms;
    this.#timers = [];
    if (flap !== undefined) this.#later(flap.upMs, () => this.#flap(flap));
    if (crashMs !== undefined) this.#later(crashMs, () => this.#crash());
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(run, ms);
    timer.unref();
    this.#timers.push(timer);
  }

  #flap(flap: Extract<Fault, { kind: "flap" }>): void {
    this.#isDown = !this.#isDown;
    if (this.#isDown) this.cut();
    this.#timers = [];
    this.#later(this.#isDown ? flap.downMs : flap.upMs, () => this.#flap(flap));
  }

  #crash(): void {
    this.cut();
    this.#wire.restart();
    this.#arm();
  }

  async #post(request: Request, message: Message): Promise<Response> {
    const isModern =
      this.server.era !== "legacy" && (this.server.era === "modern" || isModernMessage(message));
    if (isModern) return this.#serve(request, message, undefined);
    if (message.method === "initialize") return this.#initialize(request, message);
    if (message.method === "server/discover") return this.#refuseProbe(request, message);
    const id = request.headers.get("mcp-session-id");
    if (id === null) return rpcError(400, -32_000, "Bad Request: No valid session ID provided");
    const session = this.#sessions.get(id);
    if (session === undefined) return rpcError(404, -32_001, "Session not found");
    if (this.#takeNotice(message, session)) return new Response(null, { status: 202 });
    return this.#serve(request, message, session);
  }

  async #initialize(request: Request, message: Message): Promise<Response> {
    const session: Session = { running: new Map(), asked: new Map() };
    const response = await this.#serve(request, message, session);
    if (response.status !== 200) return response;
    const id = crypto.randomUUID();
    this.#sessions.set(id, session);
    response.headers.set("mcp-session-id", id);
    return response;
  }

  /** What servers of the older SDK say to a method they do not know before a session. */
  async #refuseProbe(request: Request, message: Message): Promise<Response> {
    const response = await this.#serve(request, message, { running: new Map(), asked: new Map() });
    if (response.status !== 200 || this.#wire.fault("drip") !== undefined) return response;
    return rpcError(400, -32_000, "Bad Request: Server not initialized");
  }

  /** Takes answers and cancellations; false for anything else. */
  #takeNotice({ id, method, params, result, error }: Message, session: Session): boolean {
    if (method === undefined) {
      const asked = session.asked.get(String(id));
      if (error === undefined) asked?.resolve(result);
      else asked?.reject(new Error(String((error as Result)["message"])));
      return true;
    }
    if (method !== "notifications/cancelled") return false;
    session.running.get(params?.["requestId"] as string | number)?.abort();
    return true;
  }

  /** Answers as JSON, or as an event stream as soon as something comes before the answer. */
  async #serve(request: Request, message: Message, session: Session | undefined): Promise<Response> {
    const { id, method } = message;
    const control = this.#open(id, session);
    // A legacy call goes on when its connection is lost; all else has nobody left to answer.
    const isGivenUp = session === undefined || method !== "tools/call";
    if (isGivenUp) request.signal.addEventListener("abort", () => control.abort());
    const { promise: streaming, resolve: stream } = Promise.withResolvers<EventStream>();
    let events: EventStream | undefined;
    const notify = (notification: object): unknown => {
      events ??= this.#newStream(() => isGivenUp && control.abort());
      stream(events);
      return events.send(notification);
    };
    const ask = (asking: string, params: object): Promise<unknown> =>
      this.#ask(notify, session, { asking, params });
    const peer = { signal: control.signal, notify, ...(session && { ask }) };
    const answering = this.#wire.answer(message, peer).finally(() => {
      this.#requests.delete(control);
      if (id !== undefined) session?.running.delete(id);
    });
    const first = await Promise.race([answering, streaming]);
    if (!(first instanceof EventStream)) return this.#respond(first, { id, signal: control.signal });
    void answering.then(({ reply }) => {
      if (reply !== undefined) void first.send(reply);
      first.end();
    });
    return first.response();
  }

  #open(id: string | number | undefined, session: Session | undefined): AbortController {
    const control = new AbortController();
    this.#requests.add(control);
    if (id !== undefined) session?.running.set(id, control);
    return control;
  }

  #newStream(onClose: () => void): EventStream {
    const stream: EventStream = new EventStream(() => {
      this.#streams.delete(stream);
      onClose();
    });
    this.#streams.add(stream);
    return stream;
  }

  async #ask(
    notify: (message: object) => unknown,
    session: Session | undefined,
    { asking, params }: { readonly asking: string; readonly params: object },
  ): Promise<unknown> {
    this.#asked += 1;
    const id = `mock-${this.#asked}`;
    const answer = Promise.withResolvers<unknown>();
    session?.asked.set(id, answer);
    void notify({ jsonrpc: "2.0", id, method: asking, params });
    return answer.promise;
  }

  #respond(outcome: Outcome, request: { id: Message["id"]; signal: AbortSignal }): Response {
    const { reply, fault } = outcome;
    if (fault !== undefined) return this.#misbehave(fault, reply);
    if (reply !== undefined) return Response.json(reply, { status: statusOf(reply) });
    if (request.signal.reason === LOST) return resetConnection();
    return new Response(null, { status: 202 });
  }

  #misbehave(fault: TransportFault, reply: Reply | undefined): Response {
    switch (fault.kind) {
      case "crash_after":
        queueMicrotask(() => this.#crash());
        return resetConnection();
      case "exit":
      case "refuse":
        return resetConnection();
      case "drop":
        return resetConnection('event: message\ndata: {"jsonrpc":"2.0","id":');
      case "not_found":
        return statusResponse({ kind: "status", status: 404 });
      case "status":
        return statusResponse(fault);
      case "garbage":
        return reply === undefined ? new Response(null, { status: 202 }) : garbageResponse(reply, fault);
      case "drip":
        break;
    }
    return drip(fault, JSON.stringify(reply ?? {}));
  }

  #openStanding(request: Request): Response {
    const session = this.#sessions.get(request.headers.get("mcp-session-id") ?? "");
    if (this.server.era === "modern") return new Response(null, { status: 405, headers: { allow: "POST" } });
    if (session === undefined) return rpcError(404, -32_001, "Session not found");
    const stream = this.#subscribe();
    // The header leaves with the first byte only.
    stream.raw(": open\n\n");
    return stream.response();
  }

  #subscribe(): EventStream {
    let leave = (): void => {};
    const stream = this.#newStream(() => leave());
    leave = this.#wire.subscribe((message) => stream.send(message));
    const drop = this.#wire.fault("drop");
    if (drop?.at === "stream") this.#later(drop.afterMs ?? 0, () => stream.reset());
    return stream;
  }

  #endSession(request: Request): Response {
    const isKnown = this.#sessions.delete(request.headers.get("mcp-session-id") ?? "");
    return new Response(null, { status: isKnown ? 200 : 404 });
  }

  async #openSse(request: Request): Promise<Response> {
    const hang = this.#wire.fault("hang");
    if (hang?.at === "connect") return this.#hang(request);
    const status = this.#wire.fault("status");
    if (status !== undefined && (status.at ?? "any") === "any") return statusResponse(status);
    const id = crypto.randomUUID();
    const stream = this.#subscribe();
    this.#sessions.set(id, { running: new Map(), asked: new Map(), stream });
    stream.raw(`event: endpoint\ndata: ${new URL(request.url).pathname}?session=${id}\n\n`);
    return stream.response();
  }

  async #hang(request: Request): Promise<Response> {
    const control = this.#open(undefined, undefined);
    const { promise, resolve } = Promise.withResolvers<Response>();
    const stop = (): void => resolve(resetConnection());
    control.signal.addEventListener("abort", stop);
    request.signal.addEventListener("abort", stop);
    return promise.finally(() => this.#requests.delete(control));
  }

  async #postSse(request: Request, message: Message): Promise<Response> {
    const session = this.#sessions.get(new URL(request.url).searchParams.get("session") ?? "");
    const { stream } = session ?? {};
    if (session === undefined || stream === undefined) return new Response("Not here", { status: 405 });
    if (this.#takeNotice(message, session)) return new Response(null, { status: 202 });
    const control = this.#open(message.id, session);
    const notify = (notification: object): unknown => stream.send(notification);
    const ask = (asking: string, params: object): Promise<unknown> =>
      this.#ask(notify, session, { asking, params });
    const answering = this.#wire.answer(message, { signal: control.signal, notify, ask });
    void answering.then(({ reply, fault }) => {
      this.#requests.delete(control);
      if (fault === undefined) return reply === undefined ? undefined : stream.send(reply);
      if (fault.kind === "garbage" && reply !== undefined) stream.raw(noisyEvents(reply, fault));
      else if (fault.kind === "crash_after") this.#crash();
      else if (fault.kind !== "status" && fault.kind !== "drip") stream.reset();
      return undefined;
    });
    const status = this.#wire.fault("status");
    if (status !== undefined) return statusResponse(status);
    return new Response("Accepted", { status: 202 });
  }
}

/** Whether Host and Origin are loopback's, as the suite wants it of local servers. */
function isLocal({ headers }: Request): boolean {
  const local = /^(?:https?:\/\/)?(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/;
  return [headers.get("host"), headers.get("origin")].every((value) => value === null || local.test(value));
}

function statusOf(reply: Reply): number {
  const code = (reply["error"] as { readonly code?: number } | undefined)?.code;
  return code === -32_022 ? 400 : 200;
}

function rpcError(status: number, code: number, message: string): Response {
  return Response.json({ jsonrpc: "2.0", id: null, error: { code, message } }, { status });
}

function statusResponse(fault: Extract<Fault, { kind: "status" }>): Response {
  const { status, retryAfterSeconds, location } = fault;
  const headers = new Headers();
  if (retryAfterSeconds !== undefined) headers.set("retry-after", String(retryAfterSeconds));
  if (location !== undefined) headers.set("location", location);
  if (status === 401) headers.set("www-authenticate", 'Bearer realm="mock"');
  return new Response(`Mock status ${status}`, { status, headers });
}

function noisyEvents(reply: Reply, fault: Extract<Fault, { kind: "garbage" }>): string {
  const { before, line, after } = addNoise(reply, fault);
  const lines = [...before, ...(line === undefined ? [] : [line]), ...after];
  return lines.map((one) => `event: message\ndata: ${one}\n\n`).join("");
}

function garbageResponse(reply: Reply, fault: Extract<Fault, { kind: "garbage" }>): Response {
  return new Response(noisyEvents(reply, fault), { headers: { "content-type": "text/event-stream" } });
}
