/**
 * The reference of the event streams.
 *
 * Owns what is said of them; what they carry is the union in `core/event_schema.ts`.
 */
import { z } from "zod";

import { jsonObject } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";

const streamQuery = {
  types: z.string().optional().describe("Kinds of events, divided by commas"),
  servers: z.string().optional().describe("Names, each encoded, divided by commas"),
  groups: z.string().optional().describe("Ids, names or slugs, divided by commas"),
  since: z
    .int()
    .min(0)
    .optional()
    .describe("Id of the last event that was seen; 'Last-Event-ID' says the same"),
  apikey: z.string().optional().describe("The key, where no header can be sent"),
};
const upgrade = {
  101: {
    description: "A WebSocket: each message is an Event as JSON, and 'ping' is to be answered by the library",
  },
} as const;

/** Routes of the streams. */
export const EVENT_ROUTES = {
  "GET /events": {
    id: "readEvents",
    tag: "events",
    summary: "Streams events as server-sent events; a status comes first",
    description:
      "Each message's data is an Event. Whoever returns with the last id misses nothing of the last 10,000 events, or gets a 'gap'.",
    access: "address",
    query: streamQuery,
    headers: { "Last-Event-ID": z.string().optional().describe("As a browser sends it when it comes back") },
    others: { 200: { description: "The stream", media: "text/event-stream" } },
    errors: ["GROUP_UNKNOWN", "STREAMS_REFUSED", "USAGE"],
  },
  "GET /ws/events": {
    id: "openEventSocket",
    tag: "events",
    summary: "Streams events over a WebSocket",
    access: "address",
    query: streamQuery,
    others: upgrade,
    errors: ["GROUP_UNKNOWN", "STREAMS_REFUSED", "USAGE"],
  },
  "GET /ws/servers": {
    id: "openServerSocket",
    tag: "events",
    summary: "Streams changes of servers alone over a WebSocket",
    access: "address",
    query: streamQuery,
    others: upgrade,
    errors: ["GROUP_UNKNOWN", "STREAMS_REFUSED", "USAGE"],
  },
  "GET /api/v1/events/schema": {
    id: "getEventSchema",
    tag: "events",
    summary: "The JSON Schema of what the streams carry",
    data: jsonObject,
  },
} as const satisfies RouteTable;
