/**
 * The doctor: each thing that can be wrong becomes a finding with a hint, and looking changes nothing.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Diagnosis, DoctorFinding } from "../../src/gateway/doctor.ts";
import { Doctor } from "../../src/gateway/doctor.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import type { HttpFixture } from "../fixtures/http_server.ts";
import { FAULT, makeServer, stdioServer } from "../fixtures/upstreams.ts";
import { openGateway, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { askApi } from "./scenario.ts";

const DAY_MS = 86_400_000;
let gateway: Gateway;
let upstream: ToolUpstream;
let empty: ToolUpstream;
let refusing: HttpFixture;
let diagnosis: Diagnosis;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("read")]);
  empty = serveTools([]);
  refusing = serveHttp({ kind: "status", status: 401 });
  const url = "http://127.0.0.1:9/";
  const servers = [
    upstream.server({ name: "up" }),
    empty.server({ name: "toolless" }),
    makeServer({ name: "guarded", url: refusing.url }),
    makeServer({ name: "off", url, startupMode: "disabled", headers: new Map([["A", "${env:OFF_X}"]]) }),
    makeServer({ name: "held", url, startupMode: "quarantined" }),
    makeServer({ name: "tripped", url, startupMode: "auto_disabled" }),
    makeServer({ name: "faulty", url: "nonsense", faults: [FAULT] }),
    makeServer({
      name: "keyless",
      url,
      headers: new Map([["Authorization", "Bearer ${env:NO_SUCH_KEY_X}"]]),
    }),
    makeServer({ name: "keyless two", url: `${url}?k=\${env:NO_SUCH_KEY_X}` }),
    makeServer({ name: "programless", command: "no-such-program-x", transport: "stdio" }),
    makeServer({ name: "forgotten", url, startupMode: "lazy_loading" }),
    makeServer({ name: "recent", url, startupMode: "lazy_loading" }),
    stdioServer(["--exit-with", "3", "--stderr", "first line\nno license for you"], { name: "dying" }),
  ];
  gateway = await openGateway(servers, { known: { forgotten: [], recent: [] } });
  gateway.store.rememberServer("forgotten", { connectedAt: Date.now() - 31 * DAY_MS });
  gateway.store.rememberServer("recent", { connectedAt: Date.now() - 29 * DAY_MS });
  chmodSync(gateway.path, 0o644);
  const folder = dirname(gateway.path);
  mkdirSync(join(folder, "backups"), { recursive: true });
  writeFileSync(join(folder, "backups", "conflict-1.json"), "{}");
  writeFileSync(join(folder, "mcpproxy.db.corrupt-2026-01-01T00-00-00.000Z"), "");
  await settle(gateway);
  const { json } = await askApi(gateway, { ask: "GET /doctor" });
  diagnosis = json["data"] as Diagnosis;
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await Promise.all([upstream, empty, refusing].map((one) => one[Symbol.asyncDispose]()));
});

function found(code: string): DoctorFinding[] {
  return diagnosis.findings.filter((finding) => finding.code === code);
}

test.each<[code: string, level: string, server: string | undefined, message: RegExp, hint: RegExp]>([
  [
    "CONFIG_FAULT",
    "error",
    "faulty",
    /mcp_config\.json:3:5 mcpServers\[4\]\.url: The URL is wrong/,
    /Write one/,
  ],
  ["SERVER_EXIT", "error", "dying", /code 3.*no license for you/, /./],
  ["LOGIN_NEEDED", "error", "guarded", /login \(HTTP 401\)/, /Authorization/],
  ["SERVER_QUARANTINED", "warning", "held", /waits for approval/, /servers approve 'held'/],
  ["SERVER_AUTO_DISABLED", "warning", "tripped", /auto-disabled/, /servers enable 'tripped'/],
  ["SERVER_WITHOUT_TOOLS", "warning", "toolless", /no tools/, /log/],
  ["RUNTIME_MISSING", "error", "programless", /'no-such-program-x' was not found in PATH/, /Install/],
  ["CONFIG_READABLE_BY_OTHERS", "warning", undefined, /mode 644/, /chmod 600/],
  ["STORE_SET_ASIDE", "warning", undefined, /corrupt-2026/, /delete/],
  ["CONFIG_CONFLICT_KEPT", "warning", undefined, /conflict-1\.json/, /config diff/],
  ["VERSIONS", "info", undefined, /mcpproxy \d.* on Bun/, /./],
])("GET /doctor finds %s", (code, level, server, message, hint) => {
  verifies("DOCTOR-FINDS");
  expect(found(code)).toHaveLength(1);
  const [finding] = found(code);
  expect({ ...finding, server: finding?.server }).toMatchObject({ level, server });
  expect(finding?.message).toMatch(message);
  expect(finding?.hint).toMatch(hint);
});

test("GET /doctor names each secret without a value once, with who needs it", () => {
  verifies("DOCTOR-FINDS");
  expect(diagnosis.missing_secrets).toEqual([
    { secret_name: "env:OFF_X", used_by: ["off"] },
    { secret_name: "env:NO_SUCH_KEY_X", used_by: ["keyless", "keyless two"] },
  ]);
  // What nobody wants to start is no fault.
  expect(found("SECRET_MISSING").map(({ level }) => level)).toEqual(["error", "info"]);
  // And is not told a second time as the failure of the servers that lack it.
  expect(found("SERVER_CONFIG")).toEqual([]);
});

test("GET /doctor proposes to disable what its history says was not connected for 30 days, and nothing else", async () => {
  verifies("DOCTOR-FINDS");
  const [unused] = found("SERVERS_UNUSED");
  expect(unused?.message).toContain("1 server was not connected for 30 days: 'forgotten'");
  expect(unused?.proposal).toEqual({
    method: "POST",
    path: "/api/v1/servers/batch",
    body: { action: "disable", names: ["forgotten"] },
  });
  const body = { ...unused?.proposal?.body, dry_run: true };
  const { status, json } = await askApi(gateway, { ask: "POST /api/v1/servers/batch", body });
  expect(status).toBe(200);
  expect(json["data"]).toHaveProperty("failed_servers");
});

test("GET /doctor has what the Go proxy's has, the worst first", () => {
  verifies("DOCTOR-FINDS");
  const levels = diagnosis.findings.map(({ level }) => level);
  expect(levels).toEqual(levels.toSorted((a, b) => "ewi".indexOf(a.charAt(0)) - "ewi".indexOf(b.charAt(0))));
  expect(diagnosis.total_issues).toBe(levels.filter((level) => level !== "info").length);
  expect(diagnosis.upstream_errors.map((error) => error.server_name)).toEqual([
    "faulty",
    "keyless",
    "keyless two",
    "programless",
    "dying",
  ]);
  expect(diagnosis.upstream_errors.at(-1)).toMatchObject({
    error_class: "exit",
    stderr: ["first line", "no license for you"],
  });
  expect(diagnosis.oauth_required).toMatchObject([{ server_name: "guarded", state: "login_required" }]);
  expect(diagnosis.runtime_warnings.join("\n")).toContain("no-such-program-x");
  expect(Date.parse(diagnosis.timestamp)).toBeGreaterThan(0);
});

test("Doctor.examine() tells a clock that was set back, and what stands in the way elsewhere", async () => {
  verifies("DOCTOR-FINDS");
  const { upstreams, catalog, configuration, store } = gateway;
  const doctor = new Doctor({
    upstreams,
    catalog,
    index: { size: 0 },
    configuration,
    store,
    env: process.env,
    hasSecret: async () => true,
    collisions: () => [{ level: "warning", code: "NAME_COLLISION", message: "two", hint: "one" }],
    now: () => Date.now() - 60 * DAY_MS,
  });
  const { findings, missing_secrets: missing } = await doctor.examine();
  const codes = findings.map(({ code }) => code);
  expect(codes).toContain("CLOCK_BEHIND");
  expect(codes).toContain("NAME_COLLISION");
  expect(codes).toContain("INDEX_EMPTY");
  expect(codes).not.toContain("SERVERS_UNUSED");
  expect(missing).toEqual([]);
});

test("a proxy with nothing wrong has no issue", async () => {
  verifies("DOCTOR-FINDS");
  await using fine = await openGateway([upstream.server({ name: "up" })]);
  chmodSync(dirname(fine.path), 0o700);
  await settle(fine);
  const { json } = await askApi(fine, { ask: "GET /doctor" });
  const { findings, total_issues: total } = json["data"] as Diagnosis;
  expect(findings.map(({ code }) => code)).toEqual(["VERSIONS"]);
  expect(total).toBe(0);
});

test("POST /servers/batch with what the doctor proposes disables those servers in one change, and the finding is gone", async () => {
  verifies("DOCTOR-FINDS");
  const seen = new Date(Date.now() - 31 * 86_400_000).toISOString();
  const unused = ["forgotten", "left behind"].map((name) => ({
    name,
    url: "http://127.0.0.1:1/mcp",
    ever_connected: true,
    last_successful_connection: seen,
  }));
  await using proxy = await openLiveProxy({
    mcpServers: [...unused, { name: "new", url: "http://127.0.0.1:1/mcp" }],
  });
  const findings = (await proxy.ask("GET /doctor")).data["findings"] as Diagnosis["findings"];
  const { proposal } = findings.find(({ code }) => code === "SERVERS_UNUSED") ?? {};
  const { revision } = (await proxy.ask("GET /config/history")).data;
  const { data } = await proxy.ask(`${proposal?.method} ${proposal?.path}`, proposal?.body);
  expect(data).toMatchObject({ updated: 2, failed_servers: [] });
  expect((await proxy.ask("GET /config/history")).data).toMatchObject({ revision: Number(revision) + 1 });
  const modes = ["forgotten", "left behind", "new"].map(
    async (name) => (await proxy.server(name))["startup_mode"],
  );
  expect(await Promise.all(modes)).toEqual(["disabled", "disabled", "active"]);
  expect((await proxy.ask("GET /doctor")).text).not.toContain("SERVERS_UNUSED");
});
