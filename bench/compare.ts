/**
 * Is B slower than A, or is it the machine?
 *
 * Owns the comparison of two versions of the program, each a git revision or a folder: both run at the same time on the
 * same mocks and are asked in turn, block by block, so that whatever the machine does meanwhile it does to both. A block
 * pair gives one ratio; the interval of their mean comes from resampling them. A version is called slower only when the
 * whole interval lies beyond the margin, and still does with a second comparison added. Comparing two separate runs was
 * rejected: on a shared machine their difference is the hour's.
 *
 * `bun bench/compare.ts A B [--short] [--only call,search,…] [--margin 0.06] [--json FILE]`; exits 1 when something is
 * slower, 3 when one of them does not run.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "../src/mock/random.ts";
import { echoing } from "../src/scale/discovery.ts";
import { ECHO_TOOL, Fleet } from "../src/scale/fleet.ts";
import { McpClient } from "../src/scale/mcp_client.ts";
import { median, quantile } from "../src/scale/sheet.ts";
import { areReady } from "../src/scale/stage.ts";
import { Subject } from "../src/scale/subject.ts";

const ROOT = join(import.meta.dir, "..");
const SERVERS = 30;
/** Slower by less than this is nobody's business. */
const MARGIN_RATIO = "0.06";
const RESAMPLES = 2_000;
const CONFIDENCE = 0.99;
const READY_MS = 60_000;

interface Side {
  readonly name: string;
  readonly command: readonly string[];
  readonly subject: Subject;
  readonly client: McpClient;
  readonly names: readonly string[];
  readonly folder: string;
}

/** One thing to do, so often in a block; the time of a block is the median of its own. */
interface Probe {
  readonly name: string;
  readonly each: number;
  readonly pairs: { readonly short: number; readonly full: number };
  readonly run: (side: Side, at: number) => Promise<unknown>;
}

const PROBES: readonly Probe[] = [
  {
    name: "call",
    each: 40,
    pairs: { short: 30, full: 80 },
    run: ({ client, names }, at) =>
      client.call("call_tool_read", {
        name: `${names[at % names.length]}:${ECHO_TOOL}`,
        args: { value: `${at}` },
      }),
  },
  {
    name: "search",
    each: 20,
    pairs: { short: 20, full: 60 },
    run: ({ client }, at) =>
      client.callJson("retrieve_tools", { query: `${WORDS[at % WORDS.length]} the report`, limit: 15 }),
  },
  {
    name: "list",
    each: 20,
    pairs: { short: 20, full: 60 },
    run: ({ subject }) => subject.api("/servers"),
  },
  {
    name: "move",
    each: 4,
    pairs: { short: 20, full: 40 },
    run: ({ subject, names }, at) =>
      subject.api(`/servers/${encodeURIComponent(names[0] ?? "")}`, {
        method: "PATCH",
        body: { description: `move ${at}` },
      }),
  },
  {
    name: "check",
    each: 1,
    pairs: { short: 8, full: 20 },
    run: ({ command, subject }) => exited([...command, "config", "check", subject.configPath]),
  },
];
const WORDS = ["list", "create", "delete", "search", "update", "read", "send", "count"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: "boolean" },
    only: { type: "string" },
    margin: { type: "string", default: MARGIN_RATIO },
    json: { type: "string" },
  },
});
const margin = Number(values.margin);

process.exit(await main());

async function main(): Promise<number> {
  const [first, second] = positionals;
  if (first === undefined || second === undefined) {
    console.error("Name two versions, each a git revision or a folder: bun bench/compare.ts A B");
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-compare-"));
  try {
    const commands = [await checkout(folder, first), await checkout(folder, second)];
    const probes = PROBES.filter(
      ({ name }) => values.only === undefined || values.only.split(",").includes(name),
    );
    const once = await compareAll(folder, { commands, probes });
    const doubtful = probes.filter(({ name }) =>
      once.some((row) => row.probe === name && row.verdict === "slower"),
    );
    const twice = doubtful.length === 0 ? [] : await compareAll(folder, { commands, probes: doubtful });
    const found = once.map((row) => together(row, twice));
    console.table(
      found.map(({ probe, a, b, ratio, from, to, verdict }) => ({
        probe,
        "A ms": a,
        "B ms": b,
        ratio: ratio.toFixed(3),
        interval: `${from.toFixed(3)} to ${to.toFixed(3)}`,
        verdict,
      })),
    );
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(found, null, 2)}\n`);
    const slower = found.filter(({ verdict }) => verdict === "slower");
    console.log(
      slower.length === 0
        ? "no change for the worse"
        : `slower: ${slower.map(({ probe, ratio }) => `${probe} × ${ratio.toFixed(2)}`).join(", ")}`,
    );
    return slower.length === 0 ? 0 : 1;
  } catch (error) {
    console.error(`Cannot compare: ${error instanceof Error ? error.message : String(error)}`);
    return 3;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What is called slower is measured once more, and judged by both. */
function together(row: Row, twice: readonly Row[]): Row {
  const other = twice.find(({ probe }) => probe === row.probe);
  return other === undefined ? row : judged(row, [...row.logs, ...other.logs]);
}

/** A folder as it is, or the files of a revision; the command line that starts it. */
async function checkout(folder: string, version: string): Promise<readonly string[]> {
  if (isFolder(version)) return [process.execPath, join(resolve(version), "src/main.ts")];
  const copy = mkdtempSync(join(folder, "version-"));
  await exited([
    "sh",
    "-c",
    'git archive "$1" src drizzle package.json tsconfig.json | tar -x -C "$2"',
    "sh",
    version,
    copy,
  ]);
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
  readonly verdict: "no change" | "slower" | "faster";
  /** Logarithm of the ratio of each block. */
  readonly logs: readonly number[];
}

async function compareAll(
  folder: string,
  given: { readonly commands: readonly (readonly string[])[]; readonly probes: readonly Probe[] },
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
  const sides: Side[] = [];
  for (const [at, command] of given.commands.entries()) {
    const own = join(home, `side-${at}`);
    mkdirSync(own);
    const settings = {
      health_check_interval: "0s",
      tool_discovery_interval: "0s",
      logging: { level: "warn" },
    };
    const config = fleet.config({ settings, entry: (entry) => ({ ...entry, startup_mode: "active" }) });
    const subject = stack.use(await Subject.start({ command, folder: own, config }));
    await areReady(subject, SERVERS, READY_MS);
    const client = stack.use(await McpClient.open(`${subject.url}/mcp`));
    const active = fleet.entries.map(({ name }) => name);
    sides.push({ name: `${at}`, command, subject, client, names: echoing({ fleet, active }), folder: own });
  }
  const rows: Row[] = [];
  for (const probe of given.probes) rows.push(await compare(probe, sides));
  return rows;
}

async function compare(probe: Probe, [a, b]: readonly Side[]): Promise<Row> {
  if (a === undefined || b === undefined) throw new Error("There are not two sides");
  const pairs: { readonly a: number; readonly b: number }[] = [];
  const count = probe.pairs[values.short === true ? "short" : "full"];
  // The first block warms both.
  for (let at = -1; at < count; at += 1) {
    const pair = await blockOf(probe, { a, b, at });
    if (at >= 0) pairs.push(pair);
  }
  const facts = {
    probe: probe.name,
    a: rounded(median(pairs.map((pair) => pair.a))),
    b: rounded(median(pairs.map((pair) => pair.b))),
  };
  return judged(
    facts,
    pairs.map((pair) => Math.log(pair.b / pair.a)),
  );
}

function judged({ probe, a, b }: Pick<Row, "probe" | "a" | "b">, logs: readonly number[]): Row {
  const { from, to } = intervalOf(logs);
  const verdict = from > 1 + margin ? "slower" : to < 1 - margin ? "faster" : "no change";
  return { probe, a, b, ratio: Math.exp(median(logs)), from, to, verdict, logs };
}

/** Asks both in turn, each first as often as the other; the middle time of each. */
async function blockOf(
  { run, each }: Probe,
  { a, b, at }: { readonly a: Side; readonly b: Side; readonly at: number },
): Promise<{ readonly a: number; readonly b: number }> {
  const times = { a: [] as number[], b: [] as number[] };
  for (let n = 0; n < each; n += 1) {
    const number = (at + 1) * each + n;
    const order = number % 2 === 0 ? (["a", "b"] as const) : (["b", "a"] as const);
    for (const key of order) {
      const from = performance.now();
      await run(key === "a" ? a : b, number);
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

function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}

async function exited(argv: readonly string[]): Promise<void> {
  const child = Bun.spawn([...argv], { cwd: ROOT, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const [stderr, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`'${argv[0]}' ended with ${code}: ${stderr}`);
}
