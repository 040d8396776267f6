/**
 * Preflight and explain: what is said of a tool before anybody calls it, and why a search did not show it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Principal } from "../../src/core/principal.ts";
import { explainTool } from "../../src/gateway/explain.ts";
import type { Explanation } from "../../src/gateway/explain.ts";
import { preflight } from "../../src/gateway/preflight.ts";
import type { PreflightAnswer } from "../../src/gateway/preflight.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import type { HttpFixture } from "../fixtures/http_server.ts";
import { FAULT, makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openGateway, serveTools } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

let gateway: Gateway;
let upstream: ToolUpstream;
let refusing: HttpFixture;
let silent: ToolUpstream;
let other: ToolUpstream;
const { promise: held, resolve: release } = Promise.withResolvers<void>();

beforeAll(async () => {
  const notes = Array.from({ length: 20 }, (_, at) =>
    makeDefinition(`note_${at}`, { description: "Works with a note", annotations: { readOnlyHint: true } }),
  );
  upstream = serveTools([
    ...notes,
    makeDefinition("read_zebra", {
      description: "Reads a zebra, and much else that has nothing to do with any note at all in the end",
      annotations: { readOnlyHint: true },
    }),
    makeDefinition("wipe", { annotations: { destructiveHint: true } }),
    makeDefinition("secret_tool"),
  ]);
  refusing = serveHttp({ kind: "status", status: 401 });
  other = serveTools([makeDefinition("wipe")]);
  silent = serveTools([], { held });
  const url = "http://127.0.0.1:9/";
  const known = [makeDefinition("old", { annotations: { readOnlyHint: true } })];
  gateway = await openGateway(
    [
      upstream.server({ name: "up", disabledTools: ["secret_tool"] }),
      makeServer({ name: "guarded", url: refusing.url }),
      makeServer({ name: "off", url, startupMode: "disabled" }),
      makeServer({ name: "held", url, startupMode: "quarantined" }),
      makeServer({ name: "tripped", url, startupMode: "auto_disabled" }),
      makeServer({ name: "faulty", url: "nonsense", faults: [FAULT] }),
      makeServer({ name: "asleep", url, startupMode: "lazy_loading" }),
      makeServer({ name: "away", url }),
      silent.server({ name: "slow" }),
      other.server({ name: "stopped" }),
    ],
    { known: { asleep: known, held: known, off: known } },
  );
  gateway.upstreams.start();
  const status = (name: string) => gateway.upstreams.find(name)?.connection;
  await waitFor("they stand where they should", () => {
    const isUp = status("up") === "ready" && status("stopped") === "ready";
    return (
      isUp && status("guarded") === "error" && status("away") === "error" && status("slow") === "connecting"
    );
  });
  gateway.upstreams.find("stopped")?.disconnect("stopped");
});

afterAll(async () => {
  release();
  await gateway[Symbol.asyncDispose]();
  await Promise.all([upstream, refusing, silent, other].map((one) => one[Symbol.asyncDispose]()));
});

test.each<[id: string, status: string, code: string, says: RegExp, action: string | undefined]>([
  ["up:read_zebra", "ready", "READY", /now/, undefined],
  ["up", "ready", "READY", /now/, undefined],
  ["up:secret_tool", "blocked", "TOOL_SWITCHED_OFF", /switched off/, "configure"],
  ["up:raed_zebra", "unknown", "TOOL_UNKNOWN", /no tool named/, undefined],
  ["guarded:x", "blocked", "LOGIN_NEEDED", /HTTP 401/, "login"],
  ["off:old", "blocked", "SERVER_DISABLED", /disabled/, "enable"],
  ["held:old", "blocked", "SERVER_QUARANTINED", /nobody approved/, "approve"],
  ["held:nothing", "blocked", "SERVER_QUARANTINED", /nobody approved/, "approve"],
  ["tripped:x", "blocked", "SERVER_AUTO_DISABLED", /auto-disabled/, "enable"],
  ["faulty:x", "blocked", "SERVER_FAULTY", /The URL is wrong/, "configure"],
  ["asleep:old", "degraded", "SERVER_SLEEPING", /first call connects/, undefined],
  ["away:x", "degraded", "SERVER_FAILED", /tried again/, "view_logs"],
  ["slow:x", "degraded", "SERVER_CONNECTING", /connecting/, undefined],
  ["stopped:wipe", "blocked", "SERVER_STOPPED", /by an operator/, "restart"],
  ["nobody:x", "unknown", "SERVER_UNKNOWN", /no server/, undefined],
  ["nonsense", "unknown", "ID_MALFORMED", /neither/, undefined],
])("preflight of %s is %s", (id, status, code, says, action) => {
  verifies("PREFLIGHT-VERDICT");
  const before = upstream.requests.length;
  const answer = preflight([id], depsOf());
  expect(answer.status).toBe(status as never);
  const [tool] = answer.tools;
  expect(tool).toMatchObject({ id, status, code });
  expect(tool?.reason).toMatch(says);
  expect(tool?.action).toBe(action as never);
  expect((tool?.hint ?? "").length > 0).toBe(code !== "READY");
  expect(upstream.requests.length).toBe(before);
});

function depsOf() {
  const { upstreams, catalog, finder, configuration } = gateway;
  return { upstreams, catalog, finder, settings: () => configuration.settings };
}

test("preflight() says the worst of all, and what a wrong id may have meant", () => {
  verifies("PREFLIGHT-VERDICT");
  const worst = (...ids: string[]): string => preflight(ids, depsOf()).status;
  expect(worst("up:wipe", "up:read_zebra")).toBe("ready");
  expect(worst("asleep:old", "up:read_zebra")).toBe("degraded");
  expect(worst("asleep:old", "off:old", "up:read_zebra")).toBe("blocked");
  expect(worst("off:old", "nobody:x", "asleep:old")).toBe("unknown");
  const { tools } = preflight(["up:raed_zebra", "slwo"], depsOf());
  expect(tools.map((tool) => tool.did_you_mean?.[0])).toEqual(["up:read_zebra", "slow"]);
});

test("preflight() tells an agent what its token forbids, and nothing of servers it may not reach", () => {
  verifies("PREFLIGHT-VERDICT");
  const principal: Principal = {
    id: "agent:a",
    kind: "agent",
    permissions: new Set(["read"]),
    servers: new Set(["up"]),
  };
  const of = (id: string) => preflight([id], { ...depsOf(), principal }).tools[0];
  expect(of("up:read_zebra")).toMatchObject({ status: "ready" });
  expect(of("up:wipe")).toMatchObject({ status: "blocked", code: "SCOPE_REFUSED" });
  expect({ ...of("off:old"), id: "" }).toEqual({
    ...of("nobody:old"),
    id: "",
    reason: "There is no server named 'off'",
  } as never);
  const explained = explainTool({ id: "off:old", principal }, depsOf());
  expect(explained).not.toHaveProperty("server");
  expect(JSON.stringify(explained)).not.toContain("disabled");
});

testScenarios(
  () => gateway,
  [
    {
      name: "several, as a body",
      ask: "POST /preflight",
      body: { tools: ["up:wipe", "asleep:old"] },
      like: { data: { status: "degraded", tools: [{ status: "ready" }, { status: "degraded" }] } },
    },
    {
      name: "several, in the address",
      ask: "GET /preflight?tools=up:wipe,off:old&tools=up",
      like: { data: { status: "blocked", tools: [{ id: "up:wipe" }, { id: "off:old" }, { id: "up" }] } },
    },
    {
      name: "a server that an operator stopped says so",
      ask: "GET /servers/stopped",
      like: {
        data: {
          reason: "stopped",
          last_error: "",
          health: { level: "degraded", summary: "Stopped by an operator", action: "restart" },
        },
      },
    },
    { name: "none", ask: "GET /preflight", status: 400, like: { code: "USAGE" } },
    { name: "none", ask: "POST /preflight", body: { tools: [] }, status: 400, like: { code: "USAGE" } },
    {
      name: "no list",
      ask: "POST /preflight",
      body: { tools: "up:x" },
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "a misspelt key",
      ask: "POST /preflight",
      body: { tool: ["up:x"] },
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "a tool that is found",
      ask: "GET /tools/explain?id=up:read_zebra&query=zebra",
      like: {
        data: {
          id: "up:read_zebra",
          is_found: true,
          is_callable: true,
          reasons: [],
          call_with: "call_tool_read",
          server: { name: "up", category: "connected", startup_mode: "active", connection_state: "ready" },
          search: {
            query: "zebra",
            limit: 15,
            rank: 1,
            total: 1,
            parts: { words: [{ word: "zebra", by: "word" }] },
          },
        },
      },
    },
    {
      name: "a query without a word of it",
      ask: "GET /tools/explain?id=up:read_zebra&query=quokka",
      like: {
        data: { is_found: false, is_callable: true, reasons: [{ code: "NO_MATCH" }], search: { score: 0 } },
      },
    },
    {
      name: "below the limit",
      ask: "GET /tools/explain?id=up:read_zebra&query=note&limit=5",
      like: {
        data: {
          is_found: false,
          reasons: [{ code: "BELOW_LIMIT" }],
          search: { rank: 21, total: 21, limit: 5 },
        },
      },
    },
    {
      name: "switched off",
      ask: "GET /tools/explain?id=up:secret_tool&query=secret",
      like: { data: { is_found: false, is_callable: false, reasons: [{ code: "TOOL_SWITCHED_OFF" }] } },
    },
    {
      name: "of a server that sleeps",
      ask: "GET /tools/explain?id=asleep:old",
      like: {
        data: {
          is_found: true,
          is_callable: true,
          reasons: [{ code: "SERVER_SLEEPING" }, { code: "TOOL_STALE" }],
        },
      },
    },
    {
      name: "of a quarantined server, which is not looked at",
      ask: "GET /tools/explain?id=held:old",
      like: { data: { is_found: false, is_callable: false, reasons: [{ code: "SERVER_QUARANTINED" }] } },
      lacks: ["call_with"],
    },
    {
      name: "of a server that was never read",
      ask: "GET /tools/explain?id=slow:x",
      like: {
        data: {
          is_found: false,
          is_callable: false,
          reasons: [{ code: "SERVER_CONNECTING" }, { code: "TOOLS_UNREAD" }],
        },
      },
    },
    {
      name: "that is not there",
      ask: "GET /tools/explain?id=up:raed_zebra",
      like: {
        data: { is_found: false, reasons: [{ code: "TOOL_UNKNOWN" }], did_you_mean: ["up:read_zebra"] },
      },
    },
    { name: "no id", ask: "GET /tools/explain", status: 400, like: { code: "USAGE" } },
    {
      name: "a wrong limit",
      ask: "GET /tools/explain?id=up:x&limit=0",
      status: 400,
      like: { code: "USAGE" },
    },
  ],
);

test("GET /tools/explain gives the score of the search, as the product of its parts", async () => {
  verifies("EXPLAIN-WHY");
  for (const query of ["note", "works zebra", "read zebar", "fetch note", "reads a note and note"]) {
    const limit = 100;
    const { found } = gateway.finder.find({ query, limit });
    expect(found.length).toBeGreaterThan(0);
    for (const [at, { tool, score }] of found.entries()) {
      const ask = `GET /tools/explain?id=${tool.id}&query=${encodeURIComponent(query)}&limit=${limit}`;
      const { search } = (await askApi(gateway, { ask })).json["data"] as Explanation;
      const { match = 0, coverage = 0, name = 0, words = [] } = search?.parts ?? {};
      expect(search).toMatchObject({ rank: at + 1, total: found.length });
      expect(search?.score).toBeCloseTo(score, 12);
      expect(match * coverage * name).toBeCloseTo(score, 12);
      expect(words.reduce((sum, word) => sum + word.score, 0)).toBeCloseTo(match, 12);
      expect(words.reduce((sum, word) => sum + word.weight, 0)).toBeCloseTo(1, 12);
      expect(words.some(({ by }) => by !== undefined)).toBe(true);
      expect(search?.threshold).toBeCloseTo(found.at(-1)?.score ?? 0, 12);
    }
  }
});

test("POST /preflight is no change, and is not written down as one", async () => {
  verifies("PREFLIGHT-VERDICT");
  const { json } = await askApi(gateway, { ask: "POST /preflight", body: { tools: ["up:wipe"] } });
  expect((json["data"] as PreflightAnswer).status).toBe("ready");
  const activity = await askApi(gateway, { ask: "GET /activity?limit=100" });
  expect(activity.text).not.toContain("preflight");
});
