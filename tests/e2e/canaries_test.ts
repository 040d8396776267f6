/**
 * Secrets planted wherever a user writes one, and looked for wherever the proxy says something.
 *
 * The proxy runs as users start it, with upstreams that repeat on stderr, in messages, errors and answers what they were
 * started and called with. A result of a call belongs to the caller and is not looked at; nor are the configuration, its
 * backups, the file of the key and a snapshot of the heap, where the secrets live.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { REFERENCE } from "../../src/api/reference.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openScene, openV1, startProxy } from "./harness.ts";
import type { Answer, RunningProxy } from "./harness.ts";

const LEAKY = join(import.meta.dir, "../fixtures/leaky_server.ts");

/** Where each is planted → its value. */
const CANARIES = new Map<string, string>();

/** A secret by its place; it looks like nothing in particular. */
function plant(place: string): string {
  const word = `cnry${["zeb", "qua", "wal", "ibe"][CANARIES.size % 4]}${String.fromCharCode(97 + (CANARIES.size % 26))}`;
  const value = `${word}${CANARIES.size}x`;
  CANARIES.set(place, value);
  return value;
}

/** A secret by its form: long and mixed. */
function plantKey(place: string): string {
  const value = `${plant(place)}0123456789abcdefghij`;
  CANARIES.set(place, value);
  return value;
}

const PROXY_ENV = {
  LEAK_ENV_REF: plant("${env:…} in env"),
  LEAK_HEADER_REF: plant("${env:…} in headers"),
  LEAK_ARG_REF: plant("${env:…} in args"),
  LEAK_URL_REF: plant("${env:…} in url"),
  LEAK_ALLOWED_TOKEN: plant("a system variable that is passed on"),
};

const ENV = {
  API_KEY: plant("env: by its name"),
  DB_PASSWORD: plant("env: a password"),
  GITHUB_TOKEN: `ghp_${plantKey("env: by its form")}`,
  SETTING: plantKey("env: a key under a plain name"),
  DATABASE_URL: `postgres://me:${plant("env: password in a URL")}@127.0.0.1/db`,
  SETTINGS_JSON: `{"token":"${plant("env: in JSON")}"}`,
  MY_SECRET: "${env:LEAK_ENV_REF}",
};

const ARGS = [
  "--token",
  plant("args: behind a flag"),
  `--api-key=${plant("args: in a flag")}`,
  `SERVICE_SECRET=${plant("args: in a pair")}`,
  `https://me:${plant("args: password in a URL")}@127.0.0.1/x?access_token=${plant("args: query of a URL")}`,
  "--header",
  `Authorization: Bearer ${plant("args: in a header")}`,
  "--password",
  "${env:LEAK_ARG_REF}",
];

const HEADERS = {
  Authorization: `Bearer ${plant("headers: bearer")}`,
  "X-Api-Key": plant("headers: key"),
  Cookie: `session=${plant("headers: cookie")}`,
  "X-Custom": plantKey("headers: a key under a plain name"),
  "Proxy-Authorization": `Basic ${plant("headers: basic")}`,
  "X-Auth": "${env:LEAK_HEADER_REF}",
};

function urlOf(port: number, path: string): string {
  const [user, query, more] = [plant(`url of ${path}: user info`), plant(`url of ${path}: query`), ""];
  return `http://me:${user}@127.0.0.1:${port}/${path}?api_key=${query}&token=\${env:LEAK_URL_REF}${more}`;
}

/** An upstream that repeats its address and headers, and refuses. */
function serveEchoes() {
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const status = new URL(request.url).pathname === "/login" ? 401 : 500;
      const text = `${request.url} ${JSON.stringify([...request.headers])}`;
      return new Response(text, {
        status,
        headers: { "www-authenticate": `Bearer error="${text.slice(0, 50)}"` },
      });
    },
  });
}

function configOf(port: number): Answer {
  const leaky = { command: process.execPath, env: ENV, startup_mode: "active", groups: [1] };
  return {
    api_key: plant("the key of the proxy"),
    admin_tools: "separate",
    groups: [{ id: 1, name: "leaks" }],
    logging: { level: "debug", enable_file: true },
    environment: {
      allowed_system_vars: ["LEAK_ALLOWED_TOKEN"],
      custom_vars: { CUSTOM_TOKEN: plant("a variable for all servers") },
    },
    mcpServers: [
      { name: "leaky", args: [LEAKY, ...ARGS], ...leaky },
      { name: "dying", args: [LEAKY, "--dies", ...ARGS], ...leaky },
      { name: "held", args: [LEAKY, ...ARGS], ...leaky, startup_mode: "quarantined" },
      { name: "off", args: [LEAKY, ...ARGS], ...leaky, startup_mode: "disabled" },
      { name: "login", url: urlOf(port, "login"), protocol: "http", headers: HEADERS },
      { name: "broken", url: urlOf(port, "broken"), protocol: "http", headers: HEADERS },
      {
        name: "faulty",
        url: `me:${plant("url: without its scheme")}@127.0.0.1/mcp`,
        command: 7,
        headers: HEADERS,
      },
    ],
  };
}

/** Arguments of calls. */
const CALL_ARGS = {
  password: plant("arguments: by the name"),
  nested: { token: plant("arguments: nested") },
  text: `Authorization: Bearer ${plant("arguments: in a text")}`,
  target: `https://me:${plant("arguments: in a URL")}@127.0.0.1/`,
};

/** All texts the proxy gave, each with where it came from. */
type Said = Map<string, string>;

function hitsIn(said: Said): string[] {
  return [...said].flatMap(([where, text]) =>
    [...CANARIES].filter(([, value]) => text.includes(value)).map(([place]) => `${place} → ${where}`),
  );
}

interface Asked {
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Asker {
  readonly said: Said;
  readonly ask: (what: string, init?: Asked) => Promise<Answer>;
}

function askerOf({ url }: RunningProxy, key: string): Asker {
  const said: Said = new Map();
  const ask = async (what: string, init: Asked = {}): Promise<Answer> => {
    const [method = "GET", path = ""] = what.split(" ");
    const headers = { "x-api-key": key, "content-type": "application/json", ...init.headers };
    const response = await fetch(`${url}${path}`, { ...init, method, headers });
    const text = await response.text();
    said.set(`${what} #${said.size}`, `${text}\n${JSON.stringify([...response.headers])}`);
    try {
      return JSON.parse(text) as Answer;
    } catch {
      return {};
    }
  };
  return { said, ask };
}

const NAMES = ["leaky", "dying", "held", "off", "login", "broken", "faulty", "added"];
/** Streams are listened to all the time; a heap snapshot is the process's memory, which is what it is for. */
const NOT_WALKED = /^\/(?:events|ws|mcp)\b|\/profile\/heap$/;

/** Every route that is read, for each server and with what it may be asked. */
function readRoutes(): string[] {
  const paths = Object.keys(REFERENCE).flatMap((route) => (route.startsWith("GET ") ? [route.slice(4)] : []));
  return paths
    .filter((path) => !NOT_WALKED.test(path))
    .flatMap((path) =>
      /:name\b|:server\b/.test(path) ? NAMES.map((name) => path.replace(/:name\b|:server\b/, name)) : [path],
    )
    .map((path) => path.replaceAll(/:group\b/g, "1").replaceAll(/:\w+/g, "1"))
    .flatMap((path) => [path, ...(QUERIES.get(path) ?? []).map((query) => `${path}?${query}`)]);
}

const QUERIES = new Map<string, readonly string[]>([
  ["/api/v1/activity/export", ["format=json", "format=csv"]],
  ["/api/v1/tools", ["q=leak", "limit=1"]],
  ["/api/v1/tools/explain", ["id=leaky:leak&query=leak", "id=dying:leak"]],
  ["/api/v1/preflight", ["tools=leaky:leak,dying:leak,login:x,broken:x,faulty:x,held:x"]],
  ["/api/v1/index/search", ["q=leak"]],
  ["/api/v1/servers", ["q=cnry", "q=leak"]],
  ["/api/v1/config/diff", []],
]);

/** Changes and calls, and what is refused of them. */
async function actOn({ ask, said }: Asker): Promise<void> {
  const post = (path: string, body: unknown, method = "POST"): Promise<Answer> =>
    ask(`${method} /api/v1${path}`, { body: typeof body === "string" ? body : JSON.stringify(body) });
  const call = (name: string, args: Answer): Promise<Answer> =>
    post("/tools/call", { tool_name: "call_tool_read", arguments: { name, args } });
  await call("leaky:fail", CALL_ARGS);
  await call("leaky:echo", { ...CALL_ARGS, count: "no number" });
  await call("login:x", CALL_ARGS);
  await call("broken:x", CALL_ARGS);
  await call("nobody:x", CALL_ARGS);
  // Its result is the caller's own.
  for (const tool of ["leak", "echo"]) {
    const before = said.size;
    await call(`leaky:${tool}`, CALL_ARGS);
    for (const key of [...said.keys()].slice(before)) said.delete(key);
  }
  const entry = { command: process.execPath, args: [LEAKY, ...ARGS], env: ENV, headers: HEADERS };
  await post("/servers", { name: "added", ...entry });
  await post("/servers", { name: "added", ...entry });
  await post("/servers", { name: "wrong", ...entry, env: { API_KEY: 7, TOKEN: ENV.API_KEY } });
  await post("/servers", {
    name: "verified",
    ...entry,
    args: [LEAKY, "--dies", ...ARGS],
    approve: true,
    verify: true,
  });
  await post("/servers/off", { env: { API_KEY: ENV.API_KEY, OTHER_TOKEN: ENV.DB_PASSWORD } }, "PATCH");
  await post("/config/plan", { operations: [{ op: "add", server: { name: "planned", ...entry } }] });
  await post("/config/apply", { operations: [{ op: "patch", name: "off", patch: { headers: HEADERS } }] });
  await post("/config/validate", { mcpServers: [{ name: "v", ...entry, timeout: ENV.API_KEY }] });
  await post("/import", { text: JSON.stringify({ mcpServers: { taken: entry } }), dry_run: true });
  await post("/preflight", { tools: ["leaky:leak", "dying:leak", "faulty:x"] });
  await post("/servers", `{"env": {"API_KEY": "${ENV.API_KEY}"`);
  await post("/servers/leaky/restart", {});
  await post("/servers/dying/restart", {});
  await post("/servers/login/restart", {});
  const wrong = plant("a wrong key");
  await ask("GET /api/v1/status", { headers: { "x-api-key": wrong } });
  await ask("GET /api/v1/status", { headers: { "x-api-key": "", authorization: `Bearer ${wrong}` } });
  await ask(`GET /events?apikey=${wrong}`, { headers: { "x-api-key": "" } });
}

/** A token is told to who makes it, and to nobody else. */
async function makeToken({ ask, said }: Asker): Promise<void> {
  const before = said.size;
  const body = JSON.stringify({ name: "agent", permissions: ["read"] });
  const { data } = await ask("POST /api/v1/tokens", { body });
  for (const key of [...said.keys()].slice(before)) said.delete(key);
  const { token } = data as { readonly token: string };
  expect(token).toStartWith("mcp_agt_");
  CANARIES.set("a token of an agent", token.slice("mcp_agt_".length + 8));
  await ask("GET /api/v1/servers", { headers: { "x-api-key": token } });
  await ask("GET /api/v1/config", { headers: { "x-api-key": token } });
}

/** The admin tools, with what they show of each server. */
async function askAdminTools(url: string, key: string, said: Said): Promise<void> {
  await using admin = await openV1(`${url}/mcp/admin`, { "x-api-key": key });
  const call = async (name: string, args: Answer): Promise<void> => {
    said.set(`admin: ${name} ${JSON.stringify(args)}`, JSON.stringify(await admin.call(name, args)));
  };
  said.set("admin: menu", JSON.stringify(await admin.tools()));
  await call("upstream_servers", { operation: "list" });
  await call("upstream_servers", { operation: "list", q: "cnry" });
  for (const name of NAMES) {
    await call("upstream_servers", { operation: "get", name });
    await call("upstream_servers", { operation: "tail_log", name, lines: 100 });
    await call("quarantine_security", { operation: "inspect_quarantined", name });
  }
  await call("quarantine_security", { operation: "list_quarantined" });
  await call("search_servers", { query: "leak" });
  await call("list_registries", {});
}

/** What lies in the data dir, without what has to hold the secrets. */
function readFiles(folder: string, said: Said): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (name === "backups" || name === "api_key") continue;
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) readFiles(path, said);
    else if (found?.isFile() === true) said.set(path, readFileSync(path, "latin1"));
  }
}

test("no secret of an entry, a call, a key or a token is in anything the proxy says", async () => {
  verifies("CANARIES-NONE", "SECRETS-MASKED");
  await using scene = openScene();
  using echoes = serveEchoes();
  const config = configOf(echoes.port ?? 0);
  const key = String(config["api_key"]);
  await using proxy = await startProxy(scene, { config, env: PROXY_ENV });
  const asker = askerOf(proxy, key);
  const { said, ask } = asker;
  const stream = new AbortController();
  const events = await fetch(`${proxy.url}/events?apikey=${key}`, { signal: stream.signal });
  let told = "";
  const listening = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of events.body as unknown as AsyncIterable<Uint8Array>)
      told += decoder.decode(chunk);
  })().catch(() => {});
  await proxy.settled();
  await makeToken(asker);
  await actOn(asker);
  await waitFor("what was called is written down", async () => {
    const { data } = await ask("GET /api/v1/activity?limit=100");
    return JSON.stringify(data).includes("leaky") && told.includes("oauth_required");
  });
  const routes = readRoutes();
  for (const route of routes) await ask(`GET ${route}`);
  await askAdminTools(proxy.url, key, said);
  said.set("the command line", readFileSync(`/proc/${proxy.pid}/cmdline`, "latin1"));
  const children = readFileSync(`/proc/${proxy.pid}/task/${proxy.pid}/children`, "utf8");
  stream.abort();
  await listening;
  await proxy.stop();
  said.set("events", told);
  said.set("stderr of the proxy", proxy.stderr());
  readFiles(proxy.dataDir, said);

  expect(CANARIES.size).toBeGreaterThanOrEqual(30);
  expect(hitsIn(said)).toEqual([]);
  // And it was looked where there was something to see.
  expect(routes.length).toBeGreaterThan(40);
  expect(children).not.toBe("");
  const logs = [...said].filter(([where]) => where.endsWith(".log")).map(([, text]) => text);
  expect(logs.join("\n")).toContain("DB_PASSWORD=***");
  expect(told).toContain("oauth_required");
  expect(said.get("stderr of the proxy")).toContain("Cannot connect 'dying'");
  expect([...said.values()].filter((text) => text.includes("SERVICE_SECRET=***")).length).toBeGreaterThan(3);
}, 60_000);
