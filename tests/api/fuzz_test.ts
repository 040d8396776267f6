/**
 * Odd requests to every route: whatever is sent, the answer is one the reference promises, and no fault of ours.
 *
 * `CI=1` sends few, `MCPPROXY_TEST_FULL=1` many; what is sent is another each time, and `SEED=n` sends the same again.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { REFERENCE } from "../../src/api/reference.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway, serveTools } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { oddRequests } from "./arbitrary_request.ts";
import type { Found, OddRequest } from "./arbitrary_request.ts";
import { isForeignFailure, judge, ROUTES } from "./judge.ts";
import { askApi } from "./scenario.ts";

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const RUNS = IS_FULL ? 400 : process.env["CI"] === undefined ? 40 : 20;
const MAX_SEED = 2 ** 31 - 1;
const GIVEN_SEED = process.env["SEED"];
const SEED = Number(GIVEN_SEED ?? 0) || Math.ceil(Math.random() * MAX_SEED);
const TIMEOUT_MS = 120_000;
/** Nobody listens there. */
const NOWHERE = "127.0.0.1:9";
const LOCAL = `http://${NOWHERE}/`;
/** A picture of the heap of this process takes a second. */
const FEWER_RUNS: Readonly<Record<string, number>> = { "GET /api/v1/profile/heap": 1 };
/** Without a handshake or a session these only refuse. */
const REFUSING = /^(?:GET \/ws\/|(?:GET|DELETE) \/mcp)/;
/** Chance may leave out one or the other route. */
const MIN_DONE_RATIO = 0.85;

const routes = Object.keys(REFERENCE);
const seen = new Map<string, Map<number, number>>();
/** Answers of the 500s: those on behalf of what does not answer here, and all others. */
const failures = { foreign: new Map<string, number>(), own: new Map<string, number>() };

let upstream: ToolUpstream;
let reading: Filled;

beforeAll(async () => {
  console.log(`SEED=${SEED} bun test tests/api/fuzz_test.ts sends the same again`);
  upstream = serveTools([
    makeDefinition("read", { annotations: { readOnlyHint: true } }),
    makeDefinition("wipe", { annotations: { destructiveHint: true } }),
  ]);
  reading = await openFilled();
});

afterAll(async () => {
  await reading[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** Servers in every mode, groups in each other, a token; nothing beyond this machine. */
function fileOf(url: string): string {
  return JSON.stringify({
    groups: [
      { id: 1, name: "One" },
      { id: 2, name: "Two", parent: "One" },
    ],
    registries: [
      { id: "official", servers_url: LOCAL },
      { id: "docker-mcp-catalog", servers_url: LOCAL },
    ],
    mcpServers: [
      { name: "up", url, groups: ["One"], description: "Up" },
      { name: "off", url: LOCAL, startup_mode: "disabled", group_id: 2 },
      { name: "held", command: "no-such-command-of-mcpproxy", startup_mode: "quarantined" },
      { name: "lazy", url, startup_mode: "lazy_loading" },
      { name: "dead", url: LOCAL },
    ],
  });
}

/** The route that takes a path; a segment such as `..` leads to another one, or to none. */
function routeTaking(method: string, pathname: string): string | undefined {
  const fits = routes.filter((route) => {
    const [own = "", path = ""] = route.split(" ");
    const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/:\w+/g, "[^/]+")}$`);
    return own === method && pattern.test(pathname);
  });
  return fits.toSorted((a, b) => a.split(":").length - b.split(":").length)[0];
}

async function send(gateway: Gateway, request: OddRequest & { readonly key: string }) {
  const { method, path, headers, body, key } = request;
  const controller = new AbortController();
  const answering = gateway.app().request(`http://localhost${path}`, {
    method,
    headers: { host: "localhost", "x-api-key": key, ...headers },
    signal: controller.signal,
    ...(body === undefined ? {} : { body }),
  });
  // A profile would go on for its seconds.
  if (path.includes("/profile/cpu")) controller.abort();
  const response = await answering;
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (isStream) await response.body?.cancel();
  return {
    status: response.status,
    headers: response.headers,
    text: isStream ? "" : await response.text(),
    isStream,
  };
}

/** A gateway, and the token of an agent. */
interface Filled extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly secret: string;
}

/** A gateway with something for each route to be about. */
async function openFilled(): Promise<Filled> {
  const gateway = await openGateway([], { file: fileOf(upstream.url) });
  gateway.upstreams.start();
  await waitFor("every server had its first attempt", () => gateway.upstreams.isSettled, TIMEOUT_MS);
  const ask = (what: string, body?: unknown) => askApi(gateway, { ask: what, body });
  const token = await ask("POST /tokens", { name: "bot", permissions: ["read", "write"] });
  await ask("POST /tools/call", { tool_name: "call_tool_read", arguments: { name: "up:read" } });
  await ask("PATCH /servers/off", { description: "Another" });
  await openSession(gateway);
  const { token: secret } = token.json["data"] as { readonly token: string };
  return { gateway, secret, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
}

/** The ids of what is there. */
async function findIds(gateway: Gateway, route: string): Promise<Found> {
  const idsOf = async (what: string, key: string): Promise<string[]> => {
    const { json } = await askApi(gateway, { ask: `GET /${what}` });
    const { [key]: list } = json["data"] as Readonly<Record<string, readonly { readonly id: unknown }[]>>;
    return (list ?? []).map(({ id }) => String(id));
  };
  const texts = await idsOf("config/history", "entries");
  const noun = /\/api\/v1\/(\w+)\/:id/.exec(route)?.[1];
  if (noun === "activity") return { id: await idsOf("activity", "activities") };
  if (noun === "sessions") return { id: await idsOf("sessions", "sessions") };
  if (noun === "registries") return { id: ["reference", "reference", "official"] };
  if (route.endsWith("/mcp/s/:server")) return { server: ["up", "off", "held", "lazy", "dead"] };
  return { from: texts, to: texts, id: ["up:read", ...texts] };
}

/** Counts an answer to an odd request, and whose failure it is. */
function record(route: string, taking: string, answer: { readonly status: number; readonly text: string }) {
  const { status, text } = answer;
  const statuses = seen.get(route) ?? new Map<number, number>();
  seen.set(route, statuses);
  add(statuses, status);
  if (status < 500) return;
  if (isForeignFailure(taking, answer) && text.includes(NOWHERE))
    add(failures.foreign, `${status} of ${taking}`);
  else add(failures.own, `${status} of ${taking}: ${text.slice(0, 200)}`);
}

function add<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** A legacy client that stays. */
async function openSession(gateway: Gateway): Promise<void> {
  const params = {
    protocolVersion: "2025-06-18",
    capabilities: {},
    clientInfo: { name: "fuzz", version: "1" },
  };
  const opened = await gateway.app().request("/mcp", {
    method: "POST",
    headers: {
      host: "localhost",
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
  });
  await opened.body?.cancel();
}

test.each(routes)(
  "%s answers whatever is sent as the reference says",
  async (route) => {
    verifies("API-FUZZ");
    // What only reads finds the same whatever was asked before.
    await using own = route.startsWith("GET ") ? undefined : await openFilled();
    const { gateway, secret } = own ?? reading;
    const found = await findIds(gateway, route);
    const property = fc.asyncProperty(oddRequests(route, found), async (request) => {
      const answer = await send(gateway, { ...request, key: request.isByAgent ? secret : API_KEY });
      const { pathname } = new URL(`http://localhost${request.path}`);
      const taking = routeTaking(request.method, pathname);
      record(route, taking ?? route, answer);
      if (taking === undefined) expect([401, 403, 404]).toContain(answer.status);
      else if (!answer.isStream) expect({ faults: judge(taking, answer) }).toEqual({ faults: [] });
    });
    await fc.assert(property, {
      numRuns: FEWER_RUNS[route] ?? RUNS,
      endOnFailure: true,
      seed: SEED,
    });
  },
  TIMEOUT_MS,
);

test("odd requests reach what routes do, not only their first check", () => {
  verifies("API-FUZZ");
  const isDone = (route: string): boolean =>
    [...(seen.get(route)?.keys() ?? [])].some((status) => status < 400);
  const able = routes.filter((route) => !REFUSING.test(route));
  const idle = able.filter((route) => !isDone(route));
  expect(seen.size).toBe(Object.keys(ROUTES).length);
  expect(idle.length, idle.join(", ")).toBeLessThan((1 - MIN_DONE_RATIO) * able.length);
});

test("no odd request makes the proxy fail, and only what it asks in vain comes to a 502", () => {
  verifies("API-FUZZ");
  expect(seen.size).toBe(Object.keys(ROUTES).length);
  expect(Object.fromEntries(failures.own)).toEqual({});
});

afterAll(() => {
  const byStatus = new Map<number, number>();
  for (const statuses of seen.values()) {
    for (const [status, count] of statuses) byStatus.set(status, (byStatus.get(status) ?? 0) + count);
  }
  const total = [...byStatus.values()].reduce((sum, count) => sum + count, 0);
  const told = [...byStatus].toSorted(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
  console.log(`SEED=${SEED}: ${total} odd requests to ${seen.size} routes (${told.join(", ")})`);
  for (const [what, often] of failures.foreign) console.log(`  ${often} × ${what}`);
});
