/**
 * For each check of what users of the Go proxy already call, the scenario of our own that looks at the same fact.
 *
 * Owns the table from a check's id to the file and the title of ours, and the lives of a server that no other scenario
 * goes through in order. Invariants: a title that is gone fails, with or without `../shared/contract` beside the
 * checkout; with it, so does a check that has no scenario, or that is there no more.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";

const TESTS = join(import.meta.dir, "..");
const CHECKS = join(TESTS, "../../shared/contract/rest-contract.json");
const isThere = existsSync(CHECKS);

const ACTIVITY = "api/activity_test.ts";
const ADMIN = "gateway/admin_tools_test.ts";
const CALLER = "gateway/caller_test.ts";
const DOCUMENT = "api/config_document_test.ts";
const EVENTS = "api/events_test.ts";
const FACTS = "api/contract_facts_test.ts";
const HERE = "api/contract_checks_test.ts";
const SCOPE = "gateway/scope_test.ts";
const SERVERS = "api/servers_test.ts";
const TOKENS = "api/tokens_test.ts";

const ADDED =
  "a server that is added is found and called, goes and comes back as it is switched, and is restarted";
const APPLIED = "a setting is applied and taken back, a wrong one is refused, and no connection is made anew";
const CHANGES = "a server is added, patched, renamed, switched and removed, each as one change";
const CUT = "structured content comes through, and a long result is cut with a key that reads on";
const DIRECT = "a client of %s lists and calls at /mcp/all, a group, a server and /mcp/call";
const FOUND = "a call is found in the activity by the id of its request, and one failure among the errors";
const HELD = "a quarantined server is hidden and not called until it is let out";
const LISTED = "a server as lists show it";
const MARKED = "a quarantined server's tools are shown as it announced them, marked, and nothing is started";
const SECRETS = "no secret of a definition is in any answer, log line or failure";
const SESSION =
  "a session lists the proxy's tools, searches in both forms, and calls by what the search said";
const STREAM =
  "the stream of events begins with the state, takes the key in its address, and tells of a change";
const TOKEN_LIFE =
  "a secret opens what it should until it is replaced, revoked or removed, and is never told again";
const TOLD = "a session of MCP is listed with its client, and told by its id";
const VERBS = "the verbs and changes of one server answer as the Go proxy's, each change once in the file";
const WRONG = "POST /config/validate says what is wrong, and /config/apply refuses the same";

/** File and title of our scenario, by the id of the check. */
const OWN: Readonly<Record<string, readonly [file: string, title: string]>> = {
  "setup.ready": [FACTS, LISTED],
  "setup.indexed": [FACTS, "hits of a search"],
  "health.healthz": [FACTS, "%s needs no key"],
  "health.readyz": [FACTS, "%s needs no key"],
  "auth.no_key": [FACTS, "a list without a key"],
  "auth.wrong_key": [FACTS, "a list with a wrong key"],
  "auth.bearer": ["gateway/access_test.ts", "bearer in lower case"],
  "auth.config_needs_key": [FACTS, "the configuration without a key"],
  "auth.write_needs_key": [FACTS, "a change without a key"],
  "envelope.request_id_kept": [
    "api/envelope_test.ts",
    "a request id '%s' comes back only when it is a plain one",
  ],
  "envelope.request_id_in_error": [FACTS, "an id of the caller in a failure"],
  "status.status": [FACTS, "the state of the whole"],
  "status.info": [FACTS, "where it is"],
  "servers.list": [FACTS, LISTED],
  "servers.health": [FACTS, LISTED],
  "servers.stats": [SERVERS, "each server has its category, and the categories are all servers"],
  "servers.add": [SERVERS, VERBS],
  "servers.add_seen": [SERVERS, VERBS],
  "servers.add_secret_masked": [SERVERS, SECRETS],
  "servers.add_duplicate": [SERVERS, VERBS],
  "servers.add_without_target": [SERVERS, VERBS],
  "servers.add_bad_json": [SERVERS, VERBS],
  "servers.patch": [SERVERS, VERBS],
  "servers.patch_seen": [SERVERS, VERBS],
  "servers.logs_of_stdio": [
    SERVERS,
    "GET /servers/:name/logs has the last lines of a server's stderr, up, down and without a process",
  ],
  "servers.enable_unknown": [SERVERS, VERBS],
  "servers.remove": [SERVERS, VERBS],
  "servers.remove_again": [SERVERS, VERBS],
  "servers.remove_seen": [SERVERS, VERBS],
  "upstream.add": [HERE, ADDED],
  "upstream.ready": [HERE, ADDED],
  "upstream.tools": [SERVERS, "its tools"],
  "upstream.found": [HERE, ADDED],
  "upstream.call": [HERE, ADDED],
  "upstream.disable": [HERE, ADDED],
  "upstream.disable_seen": [HERE, ADDED],
  "upstream.disable_hides_tools": [HERE, ADDED],
  "upstream.disable_refuses_call": [HERE, ADDED],
  "upstream.enable": [HERE, ADDED],
  "upstream.enable_seen": [HERE, ADDED],
  "upstream.enable_finds_tools": [HERE, ADDED],
  "upstream.restart": [HERE, ADDED],
  "upstream.restart_ready": [HERE, ADDED],
  "tools.all": ["api/tools_test.ts", "all of them, switched off or not"],
  "search.hit": [FACTS, "hits of a search"],
  "search.limit": ["api/tools_test.ts", "no more than the limit"],
  "search.nothing": [FACTS, "a search that finds nothing"],
  "search.without_query": [FACTS, "a search without words"],
  "call.read": [FACTS, "a call that reads"],
  "call.without_name": [FACTS, "a call that names no tool"],
  "call.unknown_tool": [FACTS, "a tool of the proxy that is none"],
  "mcp.initialize": [FACTS, SESSION],
  "mcp.tools_list": [FACTS, SESSION],
  "mcp.admin_tools_inline": [
    ADMIN,
    "an agent token opens none of the tools; /mcp has them only where they are inline",
  ],
  "mcp.call_tool_schema": [FACTS, "the proxy's tools say what they need, and what they may do"],
  "mcp.call_tool_hints": [FACTS, "the proxy's tools say what they need, and what they may do"],
  "mcp.unknown_tool": ["front/endpoint_test.ts", "tools/call of %s is JSON-RPC −32602, in both eras"],
  "mcp.direct_list": ["front/addresses_test.ts", DIRECT],
  "mcp.direct_call": ["front/addresses_test.ts", DIRECT],
  "retrieve.default": [FACTS, "a search by the proxy's tool"],
  "retrieve.full": [FACTS, SESSION],
  "retrieve.call_with": [FACTS, SESSION],
  "retrieve.read_only_only": [FACTS, SESSION],
  "retrieve.nothing": [FACTS, SESSION],
  "retrieve.without_query": [FACTS, SESSION],
  "describe.known": [FACTS, SESSION],
  "calltool.read": [FACTS, "a call that reads"],
  "calltool.args_json": [FACTS, "arguments as text"],
  "calltool.write": [FACTS, "a write by its tool"],
  "calltool.destructive": [FACTS, "what destroys, by its tool"],
  "calltool.intent_accepted": [FACTS, "words on the intent"],
  "calltool.destructive_by_read": [FACTS, "what destroys, by reading"],
  "calltool.wrong_args": [FACTS, "arguments that do not fit"],
  "calltool.unknown_server": [FACTS, "a server that is none"],
  "calltool.upstream_error": [FACTS, "an upstream's own failure"],
  "calltool.structured": [FACTS, CUT],
  "calltool.image": [CALLER, "Caller.call() gives the result of a %s upstream as it came"],
  "cache.cut": [FACTS, CUT],
  "cache.unknown_key": [FACTS, CUT],
  "cache.page": [FACTS, CUT],
  "manage.list": [ADMIN, "list has the fields of the Go proxy, and a total"],
  "manage.add": [ADMIN, CHANGES],
  "manage.add_seen": [ADMIN, CHANGES],
  "manage.list_masks_env": [
    ADMIN,
    "no secret of a definition or of an argument is in an answer or in the record",
  ],
  "manage.patch": [ADMIN, CHANGES],
  "manage.patch_seen": [ADMIN, CHANGES],
  "manage.tail_log": [ADMIN, "tail_log"],
  "manage.remove": [ADMIN, CHANGES],
  "manage.unknown_operation": [ADMIN, "an operation that is none"],
  "quarantine.put": [ADMIN, MARKED],
  "quarantine.seen": [HERE, HELD],
  "quarantine.listed": [ADMIN, MARKED],
  "quarantine.inspect": [ADMIN, MARKED],
  "quarantine.hidden_in_rest_search": [HERE, HELD],
  "quarantine.count_before": [HERE, HELD],
  "quarantine.call_blocked": [HERE, HELD],
  "quarantine.upstream_not_called": [HERE, HELD],
  "quarantine.release": [HERE, HELD],
  "quarantine.released": [HERE, HELD],
  "activity.calls_of_a_server": [FACTS, "an entry of the activity"],
  "activity.one": [FACTS, FOUND],
  "activity.by_request_id": [FACTS, FOUND],
  "activity.errors": [FACTS, FOUND],
  "activity.limit_capped": [FACTS, "a page of the activity that is too long"],
  "activity.unknown": [FACTS, "an entry nobody made"],
  "activity.summary": [FACTS, "a day of activity"],
  "activity.export_json": [
    ACTIVITY,
    "GET /activity/export?format=json is one object a line, without arguments unless they are asked for",
  ],
  "activity.export_csv": [
    ACTIVITY,
    "GET /activity/export?format=csv is a table that no spreadsheet computes",
  ],
  "sessions.list": [FACTS, TOLD],
  "sessions.one": [FACTS, TOLD],
  "tokens.create": [TOKENS, "one for two servers, read and write"],
  "tokens.list_hides_secret": [TOKENS, TOKEN_LIFE],
  "tokens.agent_reads": [TOKENS, TOKEN_LIFE],
  "tokens.agent_may_not_add": ["api/door_test.ts", "a token opens exactly the routes on the list of agents"],
  "tokens.agent_calls_read": [
    SCOPE,
    "a read token calls no tool that writes, destroys or says nothing, by any path; what it reads arrives",
  ],
  "tokens.agent_other_server": [
    SCOPE,
    "a token reaches the servers of its groups, and follows who joins and leaves",
  ],
  "tokens.agent_write": [
    SCOPE,
    "a read token calls no tool that writes, destroys or says nothing, by any path; what it reads arrives",
  ],
  "tokens.regenerate": [TOKENS, TOKEN_LIFE],
  "tokens.old_one_is_dead": [TOKENS, TOKEN_LIFE],
  "tokens.revoke": [TOKENS, TOKEN_LIFE],
  "tokens.revoked": [TOKENS, TOKEN_LIFE],
  "config.get": [DOCUMENT, "POST /config/apply of what GET /config shows writes nothing: %s"],
  "config.validate_good": [HERE, APPLIED],
  "config.validate_bad": [DOCUMENT, WRONG],
  "config.apply": [HERE, APPLIED],
  "config.apply_seen": [HERE, APPLIED],
  "config.apply_disturbs_nobody": [HERE, APPLIED],
  "config.apply_invalid": [DOCUMENT, WRONG],
  "config.apply_invalid_changed_nothing": [HERE, APPLIED],
  "config.back": [HERE, APPLIED],
  "config.back_seen": [HERE, APPLIED],
  "doctor.doctor": [FACTS, "what is wrong"],
  "registries.list": [FACTS, "the registries"],
  "events.first_bytes": [FACTS, STREAM],
  "events.key_in_query": [FACTS, STREAM],
  "events.wrong_key": [FACTS, STREAM],
  "events.head": [EVENTS, "HEAD /events answers with the stream's headers and opens none"],
  "events.change_arrives": [FACTS, STREAM],
  "events.enable_back": [FACTS, STREAM],
};

/** Titles of the scenarios below. */
const lives = new Set<string>();

test("each scenario that stands for a check is there, under its title", () => {
  verifies("API-GO-FACTS");
  const texts = new Map(Object.values(OWN).map(([file]) => [file, readFileSync(join(TESTS, file), "utf8")]));
  const gone = Object.entries(OWN).filter(([, [file, title]]) =>
    file === HERE ? !lives.has(title) : !texts.get(file)?.includes(`"${title}"`),
  );
  expect(gone).toEqual([]);
});

test.skipIf(!isThere)("each check of the contract has a scenario of our own", () => {
  verifies("API-GO-FACTS");
  const { checks } = JSON.parse(readFileSync(CHECKS, "utf8")) as {
    readonly checks: readonly { id: string }[];
  };
  expect(checks.length).toBeGreaterThan(100);
  expect(checks.map(({ id }) => id).toSorted()).toEqual(Object.keys(OWN).toSorted());
});

/** A scenario of this file. */
function testLife(title: string, work: () => Promise<void>): void {
  lives.add(title);
  test(title, work);
}

const READ = { annotations: { readOnlyHint: true } };
const call = (args: object) => ({
  tool_name: "call_tool_read",
  arguments: { name: "harbour:watch_ships", args },
});

async function openHarbour() {
  const upstream = serveTools([makeDefinition("watch_ships", { description: "Watches ships", ...READ })]);
  const proxy = await openLiveProxy({ quarantine_enabled: false, mcpServers: [] });
  const entry = { name: "harbour", url: upstream.url, protocol: "http", enabled: true };
  const added = await proxy.ask("POST /servers", entry);
  expect(added).toMatchObject({ status: 201, json: { success: true } });
  await proxy.untilReady("harbour");
  const isFound = async (): Promise<boolean> =>
    (await proxy.ask("GET /index/search?q=ships")).text.includes('"harbour"');
  await waitFor("its tool is found", isFound);
  return {
    upstream,
    proxy,
    isFound,
    [Symbol.asyncDispose]: async () => {
      await proxy[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

testLife(ADDED, async () => {
  verifies("API-GO-FACTS");
  await using harbour = await openHarbour();
  const { upstream, proxy, isFound } = harbour;
  expect(await proxy.ask("POST /tools/call", call({ a: 1 }))).toMatchObject({ status: 200 });
  expect(upstream.calls()).toEqual([{ a: 1 }]);
  const done = { status: 200, json: { success: true, data: { success: true, server: "harbour" } } };
  expect(await proxy.ask("POST /servers/harbour/disable")).toMatchObject(done);
  await waitFor("it is gone", async () => (await proxy.server("harbour"))["connected"] === false);
  expect(await proxy.server("harbour")).toMatchObject({
    enabled: false,
    health: { admin_state: "disabled" },
  });
  await waitFor("its tool is hidden", async () => !(await isFound()));
  expect((await proxy.ask("POST /tools/call", call({ a: 2 }))).json).toMatchObject({ success: false });
  expect(upstream.calls()).toHaveLength(1);
  expect(await proxy.ask("POST /servers/harbour/enable")).toMatchObject(done);
  await proxy.untilReady("harbour");
  expect(await proxy.server("harbour")).toMatchObject({ enabled: true, connected: true });
  await waitFor("its tool is found again", isFound);
  const opened = upstream.count("initialize");
  expect(await proxy.ask("POST /servers/harbour/restart")).toMatchObject(done);
  await waitFor("it is opened anew", () => upstream.count("initialize") > opened);
  await proxy.untilReady("harbour");
});

testLife(HELD, async () => {
  verifies("API-GO-FACTS");
  await using harbour = await openHarbour();
  const { upstream, proxy, isFound } = harbour;
  expect(await proxy.ask("POST /servers/harbour/quarantine")).toMatchObject({ status: 200 });
  expect(await proxy.server("harbour")).toMatchObject({
    quarantined: true,
    health: { admin_state: "quarantined" },
  });
  await waitFor("its tool is hidden", async () => !(await isFound()));
  const blocked = await proxy.ask("POST /tools/call", call({}));
  expect(blocked.text).toMatch(/quarantine/i);
  expect(upstream.calls()).toEqual([]);
  const released = await proxy.ask("POST /servers/harbour/unquarantine");
  expect(released).toMatchObject({ status: 200, json: { data: { success: true } } });
  await proxy.untilReady("harbour");
  expect(await proxy.ask("POST /tools/call", call({ a: 3 }))).toMatchObject({ status: 200 });
  expect(upstream.calls()).toEqual([{ a: 3 }]);
});

testLife(APPLIED, async () => {
  verifies("API-GO-FACTS");
  await using harbour = await openHarbour();
  const { upstream, proxy } = harbour;
  const shown = async (): Promise<Readonly<Record<string, unknown>>> =>
    (await proxy.ask("GET /config")).data["config"] as Readonly<Record<string, unknown>>;
  const before = await shown();
  const opened = upstream.count("initialize");
  expect((await proxy.ask("POST /config/validate", before)).data).toMatchObject({ valid: true });
  const applied = await proxy.ask("POST /config/apply", { ...before, tools_limit: 21 });
  expect(applied.data).toMatchObject({ success: true, requires_restart: false });
  expect(await shown()).toMatchObject({ tools_limit: 21, mcpServers: [{ name: "harbour" }] });
  const wrong = await proxy.ask("POST /config/apply", { ...before, tools_limit: -3 });
  expect(wrong).toMatchObject({ status: 400, json: { success: false } });
  expect(await shown()).toMatchObject({ tools_limit: 21 });
  expect(await proxy.ask("POST /tools/call", call({}))).toMatchObject({ status: 200 });
  expect((await proxy.ask("POST /config/apply", before)).data).toMatchObject({ success: true });
  expect(await shown()).toEqual(before);
  expect(upstream.count("initialize")).toBe(opened);
});
