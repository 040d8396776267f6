/**
 * Is B slower than A, or is it the machine?
 *
 * Owns the comparison of two versions of the program, each a git revision or a folder: both run at the same time on the
 * same mocks and are asked in turn, block by block, so that whatever the machine does meanwhile it does to both. A block
 * pair gives one ratio; the interval of the middle one comes from resampling them. A version is called slower, or faster,
 * only when the whole interval lies beyond the margin, and still does with a second comparison added. Comparing two
 * separate runs was rejected: on a shared machine their difference is the hour's.
 *
 * `bun bench/compare.ts A B [--short] [--only call,search,…] [--margin 0.06] [--json FILE]`, the margin in place of each
 * probe's own; exits 1 when B is slower in something, 3 when A does not run and B does, 4 when B does not run or nothing
 * could be measured. `compare_check.ts` shows how often it is right.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "../src/mock/random.ts";
import { echoing } from "../src/scale/discovery.ts";
import { ECHO_TOOL, Fleet } from "../src/scale/fleet.ts";
import { McpClient } from "../src/scale/mcp_client.ts";
import type { ToolResult } from "../src/scale/mcp_client.ts";
import { median, quantile } from "../src/scale/sheet.ts";
import { areReady } from "../src/scale/stage.ts";
import { Subject } from "../src/scale/subject.ts";
import type { ApiAnswer } from "../src/scale/subject.ts";

const ROOT = join(import.meta.dir, "..");
const SERVERS = 30;
const RESAMPLES = 2_000;
const CONFIDENCE = 0.99;
const READY_MS = 60_000;

type Key = "a" | "b";

interface Side {
  readonly command: readonly string[];
  readonly subject: Subject;
  readonly client: McpClient;
  readonly names: readonly string[];
}

type Sides = Readonly<Record<Key, Side>>;

/** One of the versions does not do what is asked of it. */
class SideError extends Error {
  readonly key: Key;

  constructor(key: Key, cause: unknown) {
    super(`${key.toUpperCase()} does not run: ${messageOf(cause)}`, { cause });
    this.key = key;
  }
}

/** One thing to do, so often in a block; the time of a block is the median of its own. */
interface Probe {
  readonly name: string;
  readonly each: number;
  readonly pairs: { readonly short: number; readonly full: number };
  /**
   * A difference of less is nobody's business. Two equal proxies differ by 0.03 for as long as they run: how each was laid
   * out in memory, and compiled; what waits for a disk or starts a process differs by more.
   */
  readonly margin: number;
  readonly run: (side: Side, at: number) => Promise<unknown>;
}

const PROBES: readonly Probe[] = [
  {
    name: "call",
    each: 40,
    pairs: { short: 80, full: 160 },
    margin: 0.09,
    run: ({ client, names }, at) =>
      answered(
        client.call("call_tool_read", {
          name: `${names[at % names.length]}:${ECHO_TOOL}`,
          args: { value: `${at}` },
        }),
      ),
  },
  {
    name: "search",
    each: 20,
    pairs: { short: 20, full: 60 },
    margin: 0.15,
    run: ({ client }, at) =>
      answered(client.call("retrieve_tools", { query: `${WORDS[at % WORDS.length]} the report`, limit: 15 })),
  },
  {
    name: "list",
    each: 20,
    pairs: { short: 20, full: 60 },
    margin: 0.15,
    run: ({ subject }) => answered(subject.api("/servers")),
  },
  {
    name: "move",
    each: 4,
    pairs: { short: 20, full: 40 },
    margin: 0.25,
    run: ({ subject, names }, at) =>
      answered(
        subject.api(`/servers/${encodeURIComponent(names[0] ?? "")}`, {
          method: "PATCH",
          body: { description: `move ${at}` },
        }),
      ),
  },
  {
    name: "check",
    each: 1,
    pairs: { short: 8, full: 20 },
    margin: 0.25,
    run: ({ command, subject }) => exited([...command, "config", "check", subject.configPath]),
  },
];
const WORDS = ["list", "create", "delete", "search", "update", "read", "send", "count"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: "boolean" },
    only: { type: "string" },
    margin: { type: "string" },
    json: { type: "string" },
  },
});

process.exit(await main());

async function main(): Promise<number> {
  const [first, second] = positionals;
  if (first === undefined || second === undefined) {
    console.error("Name two versions, each a git revision or a folder: bun bench/compare.ts A B");
    return 2;
  }
  const probes = PROBES.filter(
    ({ name }) => values.only === undefined || values.only.split(",").includes(name),
  );
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-compare-"));
  try {
    const commands = { a: await checkout(folder, "a", first), b: await checkout(folder, "b", second) };
    const once = await compareAll(folder, { commands, probes });
    const doubtful = probes.filter(({ name }) =>
      once.some((row) => row.probe === name && row.verdict !== "no change"),
    );
    const twice = doubtful.length === 0 ? [] : await compareAll(folder, { commands, probes: doubtful });
    return told(once.map((row) => together(row, twice)));
  } catch (error) {
    console.error(`Cannot compare: ${messageOf(error)}`);
    if (!(error instanceof SideError) || error.key === "b") return 4;
    return (await doesRun(folder, { version: second, probes })) ? 3 : 4;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function told(rows: readonly Row[]): number {
  console.table(
    rows.map(({ probe, a, b, ratio, from, to, margin, verdict }) => ({
      probe,
      "A ms": a,
      "B ms": b,
      ratio: ratio.toFixed(3),
      interval: `${from.toFixed(3)} to ${to.toFixed(3)}`,
      margin,
      verdict,
    })),
  );
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
  const of = (verdict: Row["verdict"]): readonly string[] =>
    rows.filter((row) => row.verdict === verdict).map(({ probe, ratio }) => `${probe} × ${ratio.toFixed(2)}`);
  const [slower, faster] = [of("slower"), of("faster")];
  if (slower.length > 0) console.log(`slower: ${slower.join(", ")}`);
  if (faster.length > 0) console.log(`faster: ${faster.join(", ")}`);
  if (slower.length + faster.length === 0) console.log("no change");
  return slower.length === 0 ? 0 : 1;
}

/** Whether B does all that is asked of it: when A did not, it was not asked yet. */
async function doesRun(
  folder: string,
  { version, probes }: { readonly version: string; readonly probes: readonly Probe[] },
): Promise<boolean> {
  try {
    const command = await checkout(folder, "b", version);
    const once = probes.map((probe) => ({ ...probe, pairs: { short: 1, full: 1 } }));
    await compareAll(folder, { commands: { a: command, b: command }, probes: once });
    return true;
  } catch (error) {
    console.error(`Nor does B: ${messageOf(error instanceof SideError ? error.cause : error)}`);
    return false;
  }
}

/** What differs is measured once more, and judged by both. */
function together(row: Row, twice: readonly Row[]): Row {
  const other = twice.find(({ probe }) => probe === row.probe);
  return other === undefined ? row : judged(row, [...row.logs, ...other.logs]);
}

/** A folder as it is, or the files of a revision; the command line that starts it. */
async function checkout(folder: string, key: Key, version: string): Promise<readonly string[]> {
  if (isFolder(version)) return [process.execPath, join(resolve(version), "src/main.ts")];
  const copy = mkdtempSync(join(folder, "version-"));
  const archive = 'git archive "$1" src drizzle package.json tsconfig.json | tar -x -C "$2"';
  await onSide(key, exited(["sh", "-c", archive, "sh", version, copy]));
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  return [process.execPath, join(copy, "src/main.ts")];
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

interface Row {
  readonly probe: string;
  /** Milliseconds. */
  readonly a: number;
  readonly b: number;
  /** B's time as a multiple of A's, and the interval it lies in. */
  readonly ratio: number;
  readonly from: number;
  readonly to: number;
  readonly margin: number;
  readonly verdict: "no change" | "slower" | "faster";
  /** Logarithm of the ratio of each block. */
  readonly logs: readonly number[];
}

async function compareAll(
  folder: string,
  given: {
    readonly commands: Readonly<Record<Key, readonly string[]>>;
    readonly probes: readonly Probe[];
  },
): Promise<Row[]> {
  const home = mkdtempSync(join(folder, "run-"));
  await using fleet = await Fleet.start({
    command: [process.execPath, join(ROOT, "src/main.ts")],
    folder: home,
    profile: "healthy",
    servers: SERVERS,
    timeScale: 0,
    maxStdio: 0,
  });
  await using stack = new AsyncDisposableStack();
  const open = async (key: Key): Promise<Side> => {
    const own = join(home, `side-${key}`);
    mkdirSync(own);
    const settings = {
      health_check_interval: "0s",
      tool_discovery_interval: "0s",
      logging: { level: "warn" },
    };
    const command = given.commands[key];
    const config = fleet.config({ settings, entry: (entry) => ({ ...entry, startup_mode: "active" }) });
    const subject = stack.use(await Subject.start({ command, folder: own, config }));
    await areReady(subject, SERVERS, READY_MS);
    const client = stack.use(await McpClient.open(`${subject.url}/mcp`));
    const active = fleet.entries.map(({ name }) => name);
    return { command, subject, client, names: echoing({ fleet, active }) };
  };
  const sides = { a: await onSide("a", open("a")), b: await onSide("b", open("b")) };
  const rows: Row[] = [];
  for (const probe of given.probes) rows.push(await compare(probe, sides));
  return rows;
}

async function compare(probe: Probe, sides: Sides): Promise<Row> {
  const pairs: { readonly a: number; readonly b: number }[] = [];
  const count = probe.pairs[values.short === true ? "short" : "full"];
  // The first block warms both.
  for (let at = -1; at < count; at += 1) {
    const pair = await blockOf(probe, sides, at);
    if (at >= 0) pairs.push(pair);
  }
  const facts = {
    probe: probe.name,
    margin: values.margin === undefined ? probe.margin : Number(values.margin),
    a: rounded(median(pairs.map((pair) => pair.a))),
    b: rounded(median(pairs.map((pair) => pair.b))),
  };
  return judged(
    facts,
    pairs.map((pair) => Math.log(pair.b / pair.a)),
  );
}

function judged(
  { probe, margin, a, b }: Pick<Row, "probe" | "margin" | "a" | "b">,
  logs: readonly number[],
): Row {
  const { from, to } = intervalOf(logs);
  // The same distance to both sides: A beside B is B beside A.
  const verdict = from > 1 + margin ? "slower" : to < 1 / (1 + margin) ? "faster" : "no change";
  return { probe, a, b, ratio: Math.exp(median(logs)), from, to, margin, verdict, logs };
}

/** Asks both in turn, each first as often as the other; the middle time of each. */
async function blockOf(
  { run, each }: Probe,
  sides: Sides,
  at: number,
): Promise<Readonly<Record<Key, number>>> {
  const times = { a: [] as number[], b: [] as number[] };
  for (let n = 0; n < each; n += 1) {
    const number = (at + 1) * each + n;
    const order = number % 2 === 0 ? (["a", "b"] as const) : (["b", "a"] as const);
    for (const key of order) {
      const from = performance.now();
      await onSide(key, run(sides[key], number));
      times[key].push(performance.now() - from);
    }
  }
  return { a: median(times.a), b: median(times.b) };
}

/** The interval of the middle ratio, by resampling; it does not ask how the noise is spread. */
function intervalOf(logs: readonly number[]): { readonly from: number; readonly to: number } {
  const random = seededRandom(1);
  const middles = Array.from({ length: RESAMPLES }, () =>
    median(Array.from(logs, () => logs[Math.floor(random() * logs.length)] ?? 0)),
  );
  const tail = (1 - CONFIDENCE) / 2;
  return { from: Math.exp(quantile(middles, tail)), to: Math.exp(quantile(middles, 1 - tail)) };
}

/** Blames a version for what it could not do. */
async function onSide<Result>(key: Key, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    throw new SideError(key, error);
  }
}

/** What is refused is quick, and no measure of anything. */
async function answered(answer: Promise<ToolResult | ApiAnswer>): Promise<void> {
  const got = await answer;
  const isRefused = "status" in got ? got.status >= 400 : got.isError === true;
  if (isRefused) throw new Error(`It refused: ${JSON.stringify(got).slice(0, 300)}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}

async function exited(argv: readonly string[]): Promise<void> {
  const child = Bun.spawn([...argv], { cwd: ROOT, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const [stderr, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`'${argv[0]}' ended with ${code}: ${stderr}`);
}
