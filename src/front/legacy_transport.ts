/**
 * The transport of one legacy session over HTTP: the SDK's, with the ids of its requests kept apart.
 *
 * Owns which request ids are in use, and the end of what is cancelled. Invariants: an id is in use from the body that
 * brings it until all requests of that body are answered or cancelled; a request that is cancelled gets no answer, and
 * its stream ends. Both are worked around here: the SDK (2.4) sends an answer on the stream of whoever used the id last,
 * and leaves the stream of a cancelled request open as long as the session. A transport of our own was rejected: all
 * else of the SDK's is right.
 */
import {
  INVALID_REQUEST,
  isSpecType,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import type { HandleRequestOptions, JSONRPCMessage, RequestId } from "@modelcontextprotocol/server";

/** The requests of one body, which are answered on one stream. */
interface Exchange {
  readonly ids: RequestId[];
  readonly open: Set<RequestId>;
  readonly cancelled: RequestId[];
}

/** Serves one session. */
export class LegacyTransport extends WebStandardStreamableHTTPServerTransport {
  readonly #exchanges = new Map<RequestId, Exchange>();

  override async handleRequest(request: Request, options?: HandleRequestOptions): Promise<Response> {
    const exchange: Exchange = { ids: [], open: new Set(), cancelled: [] };
    const messages: unknown[] = [options?.parsedBody].flat();
    for (const message of messages) {
      const id = requestIdOf(message);
      if (id === undefined) continue;
      if (this.#exchanges.has(id)) {
        this.#release(exchange);
        return refusalOf(id);
      }
      this.#exchanges.set(id, exchange);
      exchange.ids.push(id);
      exchange.open.add(id);
    }
    const response = await super.handleRequest(request, options);
    if (response.ok) for (const message of messages) this.#cancel(cancelledIdOf(message));
    else this.#release(exchange);
    return response;
  }

  override send(message: JSONRPCMessage, options?: { readonly relatedRequestId?: RequestId }): Promise<void> {
    const sent = super.send(message, options);
    if (!("method" in message) && message.id !== undefined) this.#settle(message.id);
    return sent;
  }

  #cancel(id: RequestId | undefined): void {
    if (id === undefined) return;
    const exchange = this.#exchanges.get(id);
    if (exchange?.open.has(id) !== true) return;
    exchange.cancelled.push(id);
    this.#settle(id);
  }

  #settle(id: RequestId): void {
    const exchange = this.#exchanges.get(id);
    if (exchange?.open.delete(id) !== true || exchange.open.size > 0) return;
    this.#release(exchange);
    if (exchange.cancelled.length === 0) return;
    this.closeSSEStream(id);
    // The SDK forgets the ids of a stream once all have an answer; nobody hears this one.
    for (const unheard of exchange.cancelled) {
      const error = { code: INVALID_REQUEST, message: "Cancelled" };
      void super.send({ jsonrpc: "2.0", id: unheard, error }).catch((fault: Error) => this.onerror?.(fault));
    }
  }

  #release({ ids }: Exchange): void {
    for (const id of ids) this.#exchanges.delete(id);
  }
}

function requestIdOf(message: unknown): RequestId | undefined {
  const { method, id } = (message ?? {}) as { readonly method?: unknown; readonly id?: unknown };
  return typeof method === "string" && (typeof id === "string" || typeof id === "number") ? id : undefined;
}

/** Of a message by which the SDK cancels a request; it passes over a malformed one. */
function cancelledIdOf(message: unknown): RequestId | undefined {
  const { method } = (message ?? {}) as { readonly method?: unknown };
  if (method !== "notifications/cancelled" || !isSpecType.CancelledNotification(message)) return undefined;
  return message.params.requestId;
}

function refusalOf(id: RequestId): Response {
  const message = `Cannot take request '${id}': another one with this id is under way`;
  return Response.json({ jsonrpc: "2.0", error: { code: INVALID_REQUEST, message }, id }, { status: 400 });
}
