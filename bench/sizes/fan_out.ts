/**
 * N events, one a server, published in one turn, until ten readers of the event streams have all of them; beside each written
 * as JSON once and handed to ten functions.
 */
import { Groups } from "../../src/catalog/groups.ts";
import { EventBus } from "../../src/core/events.ts";
import { EventStreams } from "../../src/api/event_streams.ts";
import { readFilter } from "../../src/api/event_filter.ts";
import type { OpenPair } from "./pair.ts";

const READERS = 10;
const ID_LINE = Buffer.from("id: ");

export const openFanOut: OpenPair = async ({ size }) => {
  const groups = new Groups([], []);
  const bus = new EventBus();
  const streams = new EventStreams({ bus, groups: () => groups });
  const readers = Array.from({ length: READERS }, () => {
    const request = new Request("http://127.0.0.1/events");
    const filter = readFilter("", { groups: () => groups });
    return new Reader(streams.openResponse({ request, filter, since: undefined }, {}));
  });
  const bare = Array.from({ length: READERS }, () => ({ chars: 0 }));
  return {
    ours: async () => {
      let last = 0;
      for (let at = 0; at < size; at += 1)
        last = bus.publish("server_state_changed", move(at), `server-${at}`);
      await Promise.all(readers.map((reader) => reader.reach(last)));
    },
    baseline: () => {
      for (let at = 0; at < size; at += 1) {
        const event = { id: at, time: Date.now(), type: "server_state_changed", server: `server-${at}` };
        const text = JSON.stringify({ ...event, data: move(at) });
        for (const reader of bare) reader.chars += text.length;
      }
    },
    [Symbol.asyncDispose]: () => streams.close(),
  };
};

function move(at: number) {
  const before = { mode: "active", connection: "connecting", category: "disconnected" } as const;
  const after = { mode: "active", connection: "ready", category: "connected" } as const;
  return { before, after, reason: `attempt ${at}`, attempt: 1, since: at };
}

/** Reads an SSE body as it comes; of an event only its id is looked at. */
class Reader {
  #last = 0;
  #failure: Error | undefined;
  #waiting:
    | { readonly id: number; readonly done: () => void; readonly fail: (why: unknown) => void }
    | undefined;

  constructor(body: ReadableStream<Uint8Array>) {
    void this.#follow(body).catch((error: Error) => {
      this.#failure = error;
      this.#waiting?.fail(error);
    });
  }

  /** Waits for an event. */
  reach(id: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#last >= id) return Promise.resolve();
    const { promise, resolve: done, reject: fail } = Promise.withResolvers<void>();
    this.#waiting = { id, done, fail };
    return promise;
  }

  async #follow(body: ReadableStream<Uint8Array>): Promise<void> {
    for await (const chunk of body) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      if (bytes.includes('"type":"gap"')) throw new Error("A reader was told of a gap");
      const at = bytes.lastIndexOf(ID_LINE);
      if (at < 0) continue;
      this.#last = Number.parseInt(bytes.toString("latin1", at + ID_LINE.length, at + 24), 10);
      if (this.#waiting === undefined || this.#last < this.#waiting.id) continue;
      this.#waiting.done();
      this.#waiting = undefined;
    }
    throw new Error("A stream of events ended");
  }
}
