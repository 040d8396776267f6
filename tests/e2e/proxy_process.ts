/**
 * The running proxy as a program of the crash matrix: `serve` as a child, asked over its API.
 *
 * Owns the change that is asked for, what the proxy tells of itself as one answer, and the rows of its database once
 * it is gone. Invariants: a proxy that ended answers `undefined`; it is never re-executed, so that the child's id is
 * the one to attach to; its upstreams accept and never answer, so nothing but the commit writes.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readDaemonNote } from "../../src/state/daemon.ts";
import { hashOf } from "../../src/state/config_history.ts";
import { waitFor } from "../fixtures/wait.ts";
import type { DriverAnswer, DriverRequest } from "./commit_driver.ts";
import type { Place, StartProgram } from "./crash_points.ts";
import { ROOT } from "./harness.ts";
import type { Answer } from "./harness.ts";

const READY_MS = 15_000;
const ANSWER_MS = 10_000;
/** Twice the delay of a batch of the database, and some. */
const STILL_MS = 60;
/** In a mode that makes a server be connected, or visited once. */
const CONNECTS = /"(?:active|lazy_loading)"/;

/** Modes change, an entry gets a new name, and what nobody approved is held: a new server and a changed one. */
const CHANGE: readonly Answer[] = [
  { op: "enable", name: "alpha" },
  { op: "make_lazy", name: "bravo" },
  { op: "quarantine", name: "charlie" },
  { op: "rename", name: "delta", to: "dora" },
  { op: "patch", name: "echo", patch: { url: "http://127.0.0.1:9/other" } },
  { op: "add", server: { name: "foxtrot", url: "http://127.0.0.1:9/foxtrot", startup_mode: "active" } },
];
/** Asked for when a fault is gone, and taken back with the next request. */
export const THIRD: DriverRequest = { text: "third", definitionHash: "third" };
const FORTH: readonly Answer[] = [{ op: "patch", name: "alpha", patch: { description: "third" } }];
const BACK: readonly Answer[] = [{ op: "patch", name: "alpha", patch: { description: null } }];

/** The configuration before the change. */
export function oldText(upstream: string): string {
  const server = (name: string, rest: Answer = {}): Answer => ({
    name,
    url: `${upstream}/${name}`,
    protocol: "http",
    startup_mode: "disabled",
    ...rest,
  });
  const grouped = { groups: [1] };
  const config = {
    listen: "127.0.0.1:0",
    groups: [{ id: 1, name: "tools" }],
    mcpServers: [
      server("alpha", grouped),
      server("bravo", grouped),
      server("charlie", grouped),
      server("delta"),
      server("echo"),
    ],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** A folder that a proxy has run on with this configuration, and was killed. */
export async function prepareProxy(root: string, text: string, start: StartProgram): Promise<Place> {
  const config = join(root, "conf", "c.json");
  const place: Place = { root, config, target: config, dataDir: join(root, "data") };
  for (const folder of ["conf", "data", "elsewhere"]) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(config, text, { mode: 0o640 });
  const program = await start(place);
  await program.kill();
  return place;
}

/**
 * Starts the proxy of a checkout and waits until `/readyz` says so.
 *
 * @param options.texts what is told of the servers → the text that says so; anything else is told as it is
 */
export function startProxyProgram(options: {
  readonly root?: string;
  readonly texts: ReadonlyMap<string, string>;
}): StartProgram {
  const { root = ROOT, texts } = options;
  return async (place) => {
    const { config, dataDir } = place;
    const script = join(root, "src/main.ts");
    const argv = [process.execPath, script, "serve", "--config", config, "--data-dir", dataDir];
    const child = Bun.spawn(argv, {
      cwd: place.root,
      // With the variable set it does not start itself once more.
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: place.root,
        TMPDIR: place.root,
        BUN_CONFIG_MAX_HTTP_REQUESTS: "16384",
        // Beside the places and for all of them: each would write its own, 2.6 MB, below its HOME.
        BUN_RUNTIME_TRANSPILER_CACHE_PATH: join(place.root, "../transpiled"),
      },
      stdin: "ignore",
      stdout: "ignore",
      stderr: Bun.file(join(place.root, "stderr")),
    });
    const end = async (signal: "SIGTERM" | "SIGKILL"): Promise<void> => {
      child.kill(signal);
      await child.exited;
    };
    try {
      const url = await urlOf(place, child);
      const api = apiOf(url, place);
      let isThird = false;
      const ask = async (request: DriverRequest): Promise<DriverAnswer | undefined> => {
        const isNext = request.text === THIRD.text;
        const operations = isNext ? FORTH : isThird ? BACK : CHANGE;
        const reply = await api("/config/apply", { operations }).catch(() => undefined);
        if (reply === undefined) return undefined;
        isThird = isNext;
        return answerOf(reply, await viewOf(api).catch(() => NO_VIEW), texts);
      };
      const view = await viewOf(api);
      const first = answerOf(await api("/config/history"), view, texts);
      // A first look at the file follows the readiness; where something is to be connected it is never settled.
      if (!CONNECTS.test(view.servers)) {
        await waitFor("/startupz answers 200", async () => (await fetch(`${url}/startupz`)).ok, READY_MS);
        await untilStill(join(dataDir, "mcpproxy.db-wal"));
      }
      return { pid: child.pid, first, ask, stop: () => end("SIGTERM"), kill: () => end("SIGKILL") };
    } catch (error) {
      await end("SIGKILL");
      throw error;
    }
  };
}

type Api = (path: string, body?: Answer) => Promise<Answer>;

async function urlOf(place: Place, child: Bun.Subprocess): Promise<string> {
  const { root, dataDir } = place;
  const note = await waitFor(
    "the proxy says where it listens",
    () => {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`The proxy ended: ${readFileSync(join(root, "stderr"), "utf8")}`);
      }
      const found = readDaemonNote(dataDir);
      // Another one is of the run that was killed.
      return found?.pid === child.pid ? found : undefined;
    },
    READY_MS,
  );
  const url = note?.url ?? "";
  await waitFor("/readyz answers 200", async () => (await fetch(`${url}/readyz`)).ok, READY_MS);
  return url;
}

/** What a start learns and notes is written in a batch after it; it must not be counted as the commit's. */
async function untilStill(path: string): Promise<void> {
  let last = 0;
  let since = 0;
  const isStill = (): boolean => {
    const { mtimeMs } = statSync(path);
    if (mtimeMs !== last) [last, since] = [mtimeMs, performance.now()];
    return performance.now() - since > STILL_MS;
  };
  await waitFor(`'${path}' is still`, isStill, READY_MS);
}

function apiOf(url: string, { dataDir }: Place): Api {
  const key = readFileSync(join(dataDir, "api_key"), "utf8").trim();
  return async (path, body) => {
    const response = await fetch(`${url}/api/v1${path}`, {
      headers: { "x-api-key": key, "content-type": "application/json" },
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
    return (await response.json()) as Answer;
  };
}

/** What memory says; both routes touch no file. */
interface View {
  readonly servers: string;
  readonly isDegraded: boolean;
}

/** Of a proxy that ended after its answer. */
const NO_VIEW: View = { servers: "", isDegraded: false };

async function viewOf(api: Api): Promise<View> {
  const [list, status] = [await api("/servers"), await api("/status")].map(({ data }) => data as Answer);
  const servers = (list?.["servers"] ?? []) as readonly Answer[];
  const told = servers.map((server) =>
    ["name", "url", "startup_mode", "quarantined", "groups", "description"].map((key) => server[key]),
  );
  return { servers: JSON.stringify(told), isDegraded: status?.["state"] === "degraded" };
}

function answerOf(reply: Answer, view: View, texts: ReadonlyMap<string, string>): DriverAnswer {
  const data = (reply["data"] ?? {}) as Answer;
  const warning = data["warning"] as string | undefined;
  const { servers, isDegraded } = view;
  return {
    ok: reply["success"] === true,
    ...(reply["success"] === true ? {} : { code: String(reply["code"]), message: String(reply["error"]) }),
    ...(warning === undefined ? {} : { warning }),
    isDegraded,
    revision: (data["revision"] as number | undefined) ?? 0,
    text: texts.get(servers) ?? servers,
    definitionHash: servers,
  };
}

/** What the database holds of the servers: what is theirs by the change, not what was learned of them. */
export interface ServerRow {
  readonly name: string;
  readonly mode: string | null;
  readonly former_mode: string | null;
  readonly definition_hash: string;
  readonly approved_hash: string | null;
}

/** The database of a proxy that is gone. */
export interface Rows {
  readonly servers: readonly ServerRow[];
  readonly pending: number;
  /** The newest revision that is done. */
  readonly last: { readonly id: number; readonly new_hash: string };
}

/** Reads the database; the proxy must be gone. */
export function readRows(place: Place): Rows {
  using db = new Database(join(place.dataDir, "mcpproxy.db"), { readwrite: true, create: false });
  const all = <Row>(text: string): Row[] => db.query<Row, []>(text).all();
  // Of other servers it is learned, in its own time after the answer.
  const former = "CASE mode WHEN 'quarantined' THEN former_mode END AS former_mode";
  const columns = `name, mode, ${former}, definition_hash, approved_hash`;
  const [last] = all<Rows["last"]>(
    "SELECT id, new_hash FROM commits WHERE state = 'done' ORDER BY id DESC LIMIT 1",
  );
  if (last === undefined) throw new Error("The database has no revision");
  return {
    servers: all<ServerRow>(`SELECT ${columns} FROM servers ORDER BY name`),
    pending: all("SELECT id FROM commits WHERE state = 'pending'").length,
    last,
  };
}

/** Where database, file and what the proxy told do not agree. */
export function disagreements(
  place: Place,
  options: {
    readonly seen: DriverAnswer;
    /** Text → the rows that belong to it. */
    readonly rows: ReadonlyMap<string, readonly ServerRow[]>;
  },
): string[] {
  const { seen, rows } = options;
  const file = readFileSync(place.target);
  const { servers, pending, last } = readRows(place);
  const wanted = rows.get(file.toString());
  return [
    ...(pending === 0 ? [] : [`${pending} commits are pending after a restart`]),
    ...(last.new_hash === hashOf(file) ? [] : [`revision ${last.id} of the database is another text`]),
    ...(last.id === seen.revision ? [] : [`it tells revision ${seen.revision}, the database has ${last.id}`]),
    ...rowDifferences(servers, wanted ?? []),
  ];
}

function rowDifferences(found: readonly ServerRow[], wanted: readonly ServerRow[]): string[] {
  const names = new Set([...found, ...wanted].map(({ name }) => name));
  return [...names].flatMap((name) => {
    const [is, should] = [found, wanted].map((rows) => JSON.stringify(rows.find((row) => row.name === name)));
    return is === should ? [] : [`the database has ${is}, not ${should}`];
  });
}
