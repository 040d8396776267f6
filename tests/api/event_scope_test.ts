/**
 * Streams of agents: what they hear of, and that they end with their token.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { EventStreams } from "../../src/api/event_streams.ts";
import { readFilter } from "../../src/api/event_filter.ts";
import { Groups } from "../../src/catalog/groups.ts";
import { ADMIN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import type { ProxyEvent } from "../../src/core/events.ts";
import { EVENT_TYPES } from "../../src/core/event_schema.ts";
import { listen } from "../../src/http.ts";
import type { Listener } from "../../src/http.ts";
import type { TokenGrant } from "../../src/state/tokens.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const HEARTBEAT_MS = 20;
const OFF = { url: "http://127.0.0.1:1/", startupMode: "disabled" } as const;

let gateway: Gateway;
let streams: EventStreams;
let listener: Listener;

beforeAll(async () => {
  gateway = await openGateway([makeServer({ name: "mine", ...OFF }), makeServer({ name: "other", ...OFF })]);
  const groups = () => gateway.configuration.groups;
  streams = new EventStreams({ bus: gateway.bus, groups, heartbeatMs: HEARTBEAT_MS });
  listener = listen(gateway.app({ streams }), { hostname: "127.0.0.1", port: 0 }, streams);
});

afterAll(async () => {
  await streams.close();
  await listener.close();
  await gateway[Symbol.asyncDispose]();
});

const GROUPS = new Groups(
  [
    { id: 1, name: "team", description: "", enabled: true },
    { id: 2, name: "below", description: "", enabled: true, parent: "team" },
    { id: 3, name: "rest", description: "", enabled: true },
  ],
  [
    { name: "a", groups: ["team"] },
    { name: "b", groups: ["below"] },
    { name: "c", groups: ["rest"] },
  ],
);

function agent(parts: Partial<Principal> = {}): Principal {
  return { id: "agent:bot", kind: "agent", permissions: new Set(["read"]), ...parts };
}

function eventOf(
  type: string,
  subject: { readonly server?: string; readonly group?: number } = {},
): ProxyEvent {
  return { id: 1, time: 1, type, data: { from: "x" }, ...subject } as unknown as ProxyEvent;
}

/** The servers of which a principal hears when something of a type happens to each. */
function heard(principal: Principal, query = "", type = "server_state_changed"): readonly string[] {
  const filter = readFilter(query, { groups: () => GROUPS, principal });
  return ["a", "b", "c"].filter((server) => filter.matches(eventOf(type, { server })));
}

test("an agent hears of the servers it names, of those of its groups, or of all, and of no others", () => {
  verifies("EVENTS-SCOPED");
  expect(heard(agent({ servers: new Set(["a"]), groups: new Set() }))).toEqual(["a"]);
  expect(heard(agent({ servers: new Set(), groups: new Set(["1"]) }))).toEqual(["a", "b"]);
  expect(heard(agent({ servers: new Set(["c"]), groups: new Set(["2"]) }))).toEqual(["b", "c"]);
  expect(heard(agent())).toEqual(["a", "b", "c"]);
  expect(heard(agent({ servers: new Set(), groups: new Set() }))).toEqual([]);
  expect(heard(ADMIN)).toEqual(["a", "b", "c"]);
  const narrow = agent({ servers: new Set(["a"]), groups: new Set() });
  expect(heard(narrow, "?servers=a,b,c")).toEqual(["a"]);
  expect(heard(narrow, "?groups=team")).toEqual(["a"]);
  expect(heard(narrow, "?servers=b")).toEqual([]);
});

test("an agent hears of nothing that is no server's, of no log and of no configuration", async () => {
  verifies("EVENTS-SCOPED");
  const all = agent();
  const filter = readFilter("", { groups: () => GROUPS, principal: all });
  const kinds = EVENT_TYPES.filter((type) => filter.matches(eventOf(type, { server: "a" })));
  expect([...kinds].toSorted()).toEqual([
    "oauth_required",
    "quarantine_changed",
    "server_added",
    "server_auto_disabled",
    "server_changed",
    "server_recovered",
    "server_removed",
    "server_renamed",
    "server_state_changed",
    "tool_called",
    "tools_changed",
  ]);
  for (const type of EVENT_TYPES) {
    expect([type, filter.matches(eventOf(type)), filter.matches(eventOf(type, { group: 1 }))]).toEqual([
      type,
      false,
      false,
    ]);
  }
  for (const query of ["?types=log", "?types=config_committed", "?types=session_opened"]) {
    const failure = await failureOf(() => readFilter(query, { groups: () => GROUPS, principal: all }));
    expect([query, failure["code"]]).toEqual([query, "USAGE"]);
  }
});

test("an agent cannot ask by a group whose servers it does not reach, and is named no other", async () => {
  verifies("EVENTS-SCOPED");
  const principal = agent({ servers: new Set(["a"]), groups: new Set() });
  const refusals = await Promise.all(
    ["rest", "nest", "3", "below"].map((group) =>
      failureOf(() => readFilter(`?groups=${group}`, { groups: () => GROUPS, principal })),
    ),
  );
  for (const { code, hint } of refusals) expect([code, hint]).toEqual(["GROUP_UNKNOWN", undefined]);
});

test("two principals never share a stream, whatever they are called", () => {
  verifies("EVENTS-SCOPED");
  const options = { groups: () => GROUPS, isCurrent: () => true };
  const first = agent();
  const keys = [first, agent(), ADMIN].map((principal) => readFilter("", { ...options, principal }).key);
  expect(new Set(keys).size).toBe(3);
  expect(readFilter("", { ...options, principal: first }).key).toBe(keys[0] ?? "");
});

function makeToken(name: string, servers: TokenGrant["servers"]): string {
  const rest = { groups: [], permissions: ["read"], expiresAt: Date.now() + 1e7 } as const;
  return gateway.tokens.create({ name, servers, ...rest }).secret;
}

interface Heard {
  readonly types: string[];
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
}

async function openSocket(token: string): Promise<Heard> {
  const socket = new WebSocket(`ws://127.0.0.1:${listener.port}/ws/events?apikey=${token}`);
  const types: string[] = [];
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<number>();
  socket.addEventListener("open", () => opened.resolve());
  socket.addEventListener("error", () => opened.reject(new Error("no socket")));
  socket.addEventListener("close", ({ code }) => closed.resolve(code));
  socket.addEventListener("message", ({ data }) => {
    const { type, server } = JSON.parse(data as string) as { type: string; server?: string };
    types.push(`${type} ${server ?? ""}`);
  });
  await opened.promise;
  return { types, socket, closed: closed.promise };
}

test("a stream carries what its token reaches, and nothing more once the token is revoked: it is closed with 1008", async () => {
  verifies("EVENTS-SCOPED", "TOKEN-EXPIRES");
  const one = await openSocket(makeToken("one", ["mine"]));
  const all = await openSocket(makeToken("all", ["*"]));
  const changed = (server: string) =>
    gateway.bus.publish("server_changed", { keys: [], isRestarted: false }, server);
  changed("other");
  gateway.bus.publish("session_opened", { session: "x", open: 1 });
  changed("mine");
  await waitFor("both have heard", () => one.types.length > 0 && all.types.length > 1);
  expect(one.types).toEqual(["server_changed mine"]);
  expect(all.types).toEqual(["server_changed other", "server_changed mine"]);
  gateway.tokens.revoke("one");
  gateway.tokens.regenerate("all");
  changed("mine");
  expect(await Promise.all([one.closed, all.closed])).toEqual([1008, 1008]);
  expect(one.types).toEqual(["server_changed mine"]);
  expect(all.types.length).toBe(2);
});

test("an SSE stream of an agent begins with a status of its servers, and ends with the token", async () => {
  verifies("EVENTS-SCOPED", "TOKEN-EXPIRES");
  const token = makeToken("sse", ["mine"]);
  const response = await fetch(`http://127.0.0.1:${listener.port}/events`, {
    headers: { "x-api-key": token },
  });
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const read = async (): Promise<boolean> => {
    const part = await reader?.read();
    text += decoder.decode(part?.value as Uint8Array | undefined, { stream: true });
    return part?.done !== true;
  };
  await read();
  expect(text).toContain('"mine"');
  expect(text).not.toContain("other");
  gateway.tokens.remove("sse");
  while (await read());
  expect(text).not.toContain("other");
});
