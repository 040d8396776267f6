/**
 * What does a page of a list of 10,000 servers cost, and do calls notice programs that ask for the list all the time?
 *
 * Owns the numbers to hold: a page of 100 of 10,000 servers at p99 within 50 ms, whatever narrows or orders them, and all
 * of them on one page within 120 ms at p50 and 300 ms at p99, each beyond the same bytes from a bare listener asked in
 * turn; and with 16 programs that each ask for a list of 159 servers once a second, calls through `/mcp` at p50 within
 * +5 % and at p99 within +2 ms of the same calls without them. The proxy is a process of its own, asked over its port; a
 * third of its servers are connected, to mocks in another process. Rounds with and without follow each other in one run;
 * what is compared is the median over the pairs. On a busy machine the pages' times do not hold, their processor time
 * does. Prints tables, writes `bench/out/listing.json`, exits 1 past a budget.
 * `--rounds N` (20 pairs), `--seconds N` (2) each, `--runs N` (200) of a page.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { echoing } from "../src/scale/discovery.ts";
import { ECHO_TOOL, Fleet } from "../src/scale/fleet.ts";
import { McpClient } from "../src/scale/mcp_client.ts";
import { median } from "../src/scale/sheet.ts";
import { areReady } from "../src/scale/stage.ts";
import { Subject } from "../src/scale/subject.ts";
import { quantile } from "../tests/fixtures/quantile.ts";

const ROOT = join(import.meta.dir, "..");
const SERVERS = 10_000;
const PAGE = 100;
const MAX_PAGE_MS = 50;
const MAX_WHOLE_MS = { p50: 120, p99: 300 } as const;
const POLLED_SERVERS = 159;
const POLLERS = 16;
const POLL_EVERY_MS = 1_000;
const MAX_P50_RATIO = 1.05;
const MAX_P99_MORE_MS = 2;
/** Between two calls. */
const GAP_MS = 2;
/** At the beginning of a round, before anything counts. */
const LEAD_MS = 200;
const WARM_UP_PAGES = 20;
const READY_MS = 120_000;
/** The modes of the list, in turn; one in three is to be connected. */
const MODES = ["active", "disabled", "quarantined", "active", "lazy_loading", "auto_disabled"] as const;
const GROUPS = 10;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "20" },
    seconds: { type: "string", default: "2" },
    runs: { type: "string", default: "200" },
    /** Asks this list instead, as told on stdin. */
    poll: { type: "string" },
    key: { type: "string", default: "" },
    /** Answers with what was put there, instead. */
    bare: { type: "boolean", default: false },
  },
});

function quantiles(times: readonly number[]): { readonly p50: number; readonly p99: number } {
  const sorted = Float64Array.from(times).toSorted();
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}

/** The programs: asks while it is told `on`. */
async function pollOnWord(url: string, key: string): Promise<void> {
  let timers: Timer[] = [];
  const ask = async (): Promise<void> => {
    const response = await fetch(url, { headers: { "x-api-key": key } });
    await response.arrayBuffer();
  };
  for await (const chunk of Bun.stdin.stream()) {
    for (const timer of timers) clearInterval(timer);
    timers = [];
    if (!new TextDecoder().decode(chunk).includes("on")) continue;
    for (let at = 0; at < POLLERS; at += 1) {
      const begin = (): void => void timers.push(setInterval(() => void ask(), POLL_EVERY_MS));
      timers.push(setTimeout(begin, (at * POLL_EVERY_MS) / POLLERS));
    }
  }
}

/** The least a listener does: it sends bytes. */
function serveBare(): void {
  let text = "";
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      if (request.method === "PUT") text = await request.text();
      return new Response(text, { headers: { "content-type": "application/json" } });
    },
  });
  process.stdout.write(`${server.port}\n`);
}

interface PageRow {
  readonly what: string;
  readonly servers: number;
  /** Of the proxy, on average; it does not know how busy the machine is. */
  readonly cpuMs: number;
  readonly page: { readonly p50: number; readonly p99: number };
  /** The same bytes from a bare listener, asked in turn. */
  readonly bare: { readonly p50: number; readonly p99: number };
}

/** A proxy with so many servers, of which a third is connected before it is handed out. */
async function openStage(servers: number) {
  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-listing-"));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const command = [process.execPath, join(ROOT, "src/main.ts")];
  const fleet = stack.use(
    await Fleet.start({ command, folder, profile: "healthy", servers, timeScale: 0, maxStdio: 0 }),
  );
  const place = new Map(fleet.entries.map(({ name }, at) => [name, at]));
  const modeOf = (name: string): string => MODES[(place.get(name) ?? 0) % MODES.length] ?? "disabled";
  const config = fleet.config({
    // Nothing is to run beside what is measured.
    settings: {
      health_check_interval: "0s",
      tool_discovery_interval: "0s",
      logging: { level: "error" },
      groups: Array.from({ length: GROUPS }, (_, at) => ({ id: at + 1, name: `g${at + 1}`, enabled: true })),
    },
    entry: (entry) => ({
      ...entry,
      description: `Number ${place.get(entry.name)}, for tests of long lists`,
      startup_mode: modeOf(entry.name),
      group_id: ((place.get(entry.name) ?? 0) % GROUPS) + 1,
    }),
  });
  const subject = stack.use(await Subject.start({ command, folder, config }));
  const active = fleet.entries.map(({ name }) => name).filter((name) => modeOf(name) === "active");
  await areReady(subject, active.length, READY_MS);
  const opened = stack.move();
  return {
    subject,
    connected: active.length,
    callable: echoing({ fleet, active }),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

async function benchPages(runs: number): Promise<readonly PageRow[]> {
  await using stage = await openStage(SERVERS);
  const { subject } = stage;
  console.log(`${SERVERS} servers, ${stage.connected} of them connected`);
  const fetched = async (url: string, init: RequestInit = {}): Promise<string> => {
    const response = await fetch(url, { ...init, headers: { "x-api-key": subject.key } });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return text;
  };
  const ask = (query: string): Promise<string> => fetched(`${subject.url}/api/v1/${query}`);
  const read = async (query: string) =>
    (
      JSON.parse(await ask(query)) as {
        readonly data: { readonly next_cursor?: string; readonly servers?: readonly unknown[] };
      }
    ).data;
  let cursor: string | undefined;
  for (let page = 0; page < SERVERS / PAGE / 2; page += 1) {
    const { next_cursor: next } = await read(`servers?limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`);
    cursor = next;
  }
  const pages: Readonly<Record<string, string>> = {
    "first page": `servers?limit=${PAGE}`,
    "page in the middle": `servers?limit=${PAGE}&cursor=${cursor}`,
    "the sleeping": `servers?limit=${PAGE}&category=sleeping`,
    "the connected": `servers?limit=${PAGE}&category=connected`,
    "one group": `servers?limit=${PAGE}&group=g3`,
    text: `servers?limit=${PAGE}&q=number%2077`,
    "category, group and text": `servers?limit=${PAGE}&category=disabled&group=g4&q=number`,
    "by name": `servers?limit=${PAGE}&sort=name`,
    "by tools, downwards": `servers?limit=${PAGE}&sort=-tool_count`,
    "all on one page": `servers?limit=${SERVERS}`,
    "counts alone": "stats",
  };
  const bare = Bun.spawn([process.execPath, import.meta.path, "--bare"], { stdout: "pipe" });
  try {
    const port = new TextDecoder().decode((await bare.stdout.getReader().read()).value).trim();
    const bareUrl = `http://127.0.0.1:${port}`;
    const rows: PageRow[] = [];
    for (const [what, query] of Object.entries(pages)) {
      await fetched(bareUrl, { method: "PUT", body: await ask(query) });
      const page = (): Promise<unknown> => ask(query);
      await inTurn(WARM_UP_PAGES, page, () => fetched(bareUrl));
      const before = subject.holdings().cpuSeconds;
      const times = await inTurn(runs, page, () => fetched(bareUrl));
      const cpuMs = ((subject.holdings().cpuSeconds - before) * 1_000) / runs;
      const servers = (await read(query)).servers?.length ?? 0;
      rows.push({ what, servers, cpuMs, page: quantiles(times.page), bare: quantiles(times.bare) });
    }
    return rows;
  } finally {
    bare.kill();
    await bare.exited;
  }
}

async function inTurn(runs: number, page: () => Promise<unknown>, bare: () => Promise<unknown>) {
  const times = { page: [] as number[], bare: [] as number[] };
  for (let run = 0; run < runs; run += 1) {
    const from = performance.now();
    await page();
    const between = performance.now();
    await bare();
    times.page.push(between - from);
    times.bare.push(performance.now() - between);
  }
  return times;
}

interface Pair {
  readonly without: { readonly p50: number; readonly p99: number };
  readonly beside: { readonly p50: number; readonly p99: number };
}

/** Calls one after the other, with a gap; times in milliseconds. */
async function callFor(client: McpClient, names: readonly string[], ms: number): Promise<number[]> {
  const times: number[] = [];
  const startedAt = performance.now();
  let at = 0;
  for (let now = startedAt; now - startedAt < ms; now = performance.now()) {
    const name = `${names[at++ % names.length]}:${ECHO_TOOL}`;
    const { isError, content } = await client.call("call_tool_read", { name, args: { value: `${at}` } });
    if (isError === true) throw new Error(content[0]?.text ?? `'${name}' failed`);
    if (now - startedAt > LEAD_MS) times.push(performance.now() - now);
    await Bun.sleep(GAP_MS);
  }
  return times;
}

async function benchPollers(
  rounds: number,
  ms: number,
): Promise<{ readonly pairs: readonly Pair[]; readonly bytes: number }> {
  await using stage = await openStage(POLLED_SERVERS);
  const { subject, callable } = stage;
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const list = `${subject.url}/api/v1/servers`;
  const headers = { "x-api-key": subject.key };
  const { byteLength: bytes } = await (await fetch(list, { headers })).arrayBuffer();
  const pollers = Bun.spawn([process.execPath, import.meta.path, "--poll", list, "--key", subject.key], {
    stdin: "pipe",
  });
  const tell = async (word: string): Promise<void> => {
    void pollers.stdin.write(word);
    await pollers.stdin.flush();
  };
  try {
    await callFor(client, callable, ms);
    const pairs: Pair[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const sides: number[][] = [];
      // Which comes first changes, so that a slow moment meets both.
      const order = round % 2 === 0 ? ["off", "on"] : ["on", "off"];
      for (const word of order) {
        await tell(word);
        sides.push(await callFor(client, callable, ms));
      }
      const [first = [], second = []] = sides;
      const [without, beside] = round % 2 === 0 ? [first, second] : [second, first];
      pairs.push({ without: quantiles(without), beside: quantiles(beside) });
    }
    return { pairs, bytes };
  } finally {
    await pollers.stdin.end();
    pollers.kill();
    await pollers.exited;
  }
}

async function main(): Promise<number> {
  const rows = await benchPages(Number(values.runs));
  console.table(
    rows.map(({ what, servers, cpuMs, page, bare }) => ({
      [`page of ${SERVERS} servers`]: what,
      servers,
      "cpu ms": cpuMs.toFixed(2),
      "p50 ms": page.p50.toFixed(2),
      "p99 ms": page.p99.toFixed(2),
      "bare p50": bare.p50.toFixed(2),
      "bare p99": bare.p99.toFixed(2),
    })),
  );
  const { pairs, bytes } = await benchPollers(Number(values.rounds), Number(values.seconds) * 1_000);
  const of = (side: keyof Pair, part: "p50" | "p99"): number => median(pairs.map((pair) => pair[side][part]));
  const ratio = median(pairs.map(({ without, beside }) => beside.p50 / without.p50));
  const more = median(pairs.map(({ without, beside }) => beside.p99 - without.p99));
  console.table([
    {
      calls: "without",
      "p50 ms": of("without", "p50").toFixed(3),
      "p99 ms": of("without", "p99").toFixed(3),
    },
    {
      calls: `beside ${POLLERS} pollers`,
      "p50 ms": of("beside", "p50").toFixed(3),
      "p99 ms": of("beside", "p99").toFixed(3),
    },
  ]);
  const worst = Math.max(...rows.filter(({ servers }) => servers <= PAGE).map((row) => moreOf(row, "p99")));
  const whole = rows.filter(({ servers }) => servers > PAGE);
  const [wholeP50, wholeP99] = (["p50", "p99"] as const).map((part) =>
    Math.max(...whole.map((row) => moreOf(row, part))),
  );
  const bars = [
    { what: "the worst page at p99", measured: worst, must: MAX_PAGE_MS },
    { what: "all on one page at p50", measured: wholeP50 ?? Number.NaN, must: MAX_WHOLE_MS.p50 },
    { what: "all on one page at p99", measured: wholeP99 ?? Number.NaN, must: MAX_WHOLE_MS.p99 },
    { what: `calls beside ${POLLERS} pollers at p50, times`, measured: ratio, must: MAX_P50_RATIO },
    { what: `calls beside ${POLLERS} pollers at p99, plus ms`, measured: more, must: MAX_P99_MORE_MS },
  ].map(({ what, measured, must }) => ({ what, measured, must, isHeld: measured <= must }));
  console.log(`a list of ${POLLED_SERVERS} servers is ${Math.round(bytes / 1_000)} KB`);
  console.table(bars.map((bar) => ({ ...bar, measured: bar.measured.toFixed(3) })));
  mkdirSync(join(ROOT, "bench/out"), { recursive: true });
  const json = { rows, pairs, bytes, bars };
  writeFileSync(join(ROOT, "bench/out/listing.json"), `${JSON.stringify(json, null, 2)}\n`);
  return bars.every(({ isHeld }) => isHeld) ? 0 : 1;
}

/** How much longer it took than its bytes: what the machine was late for, both were. */
function moreOf({ page, bare }: PageRow, part: "p50" | "p99"): number {
  return page[part] - bare[part];
}

if (values.bare) serveBare();
else if (values.poll !== undefined) await pollOnWord(values.poll, values.key);
else process.exitCode = await main();
