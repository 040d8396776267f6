/**
 * An editor as a process of its own: reads the configuration, changes one key, and saves it in a way that editors do.
 *
 * Owns the ways and their pauses, and a line of JSON for each save: what it meant to write, what it had read, and what
 * stood in the file just before. It reads the path without any lock and never looks at what the proxy does.
 *
 * Run: bun tests/e2e/editor_process.ts FILE SAVES SEED
 */
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { seededRandom } from "../../src/mock/random.ts";

/** How a text gets into the file. */
export type Way = "rename" | "truncate" | "pieces" | "over";

/** One save. */
export interface Save {
  readonly number: number;
  readonly way: Way;
  readonly text: string;
  /** The editor's counter in the file just before. */
  readonly found: number;
  /** The proxy's counter in the text that was edited. */
  readonly base: number;
  /** Between its two pieces. */
  readonly pausedMs: number;
  /** When it began and ended, Unix milliseconds with a fraction. */
  readonly from: number;
  readonly to: number;
}

const WAYS: readonly Way[] = ["rename", "truncate", "pieces", "over"];
/** Between two saves, and between the two pieces of one, at most. */
const REST_MS = 45;
const PIECE_MS = 8;
/** Share of saves that are made from a text that was read a while ago. */
const STALE_RATIO = 0.3;

/** The counter of the editor, at the head or at the end, or of the proxy, in a text. */
export function counterIn(text: string, key: "x_editor" | "x_end" | "x_proxy"): number {
  return Number(new RegExp(`"${key}": (\\d+)`).exec(text)?.[1] ?? -1);
}

function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Gives the time between the two pieces, in milliseconds. */
async function save(
  path: string,
  { text, way }: Pick<Save, "text" | "way">,
  pauseMs: number,
): Promise<number> {
  const middle = Math.floor(text.length / 2);
  if (way === "rename") {
    writeFileSync(`${path}.swp`, text, { mode: 0o600 });
    renameSync(`${path}.swp`, path);
  } else if (way === "truncate") {
    writeFileSync(path, text);
  } else {
    // "over": the old text stays behind the first piece until the second is written.
    const file = openSync(path, way === "pieces" ? "w" : "r+");
    writeSync(file, text.slice(0, middle), 0);
    const wroteAt = now();
    await Bun.sleep(pauseMs);
    const bytes = Buffer.byteLength(text.slice(0, middle));
    writeSync(file, text.slice(middle), bytes);
    if (way === "over") ftruncateSync(file, Buffer.byteLength(text));
    closeSync(file);
    return now() - wroteAt;
  }
  return 0;
}

async function main([path = "", saves = "0", seed = "0"]: readonly string[]): Promise<void> {
  const random = seededRandom(Number(seed));
  let read = readFileSync(path, "utf8");
  for (let number = 1; number <= Number(saves); number += 1) {
    if (random() >= STALE_RATIO) read = readFileSync(path, "utf8");
    const way = WAYS[Math.floor(random() * WAYS.length)] ?? "rename";
    const text = read.replace(/"(x_editor|x_end)": \d+/g, `"$1": ${number}`);
    const from = now();
    const found = counterIn(readFileSync(path, "utf8"), "x_editor");
    const pausedMs = await save(path, { text, way }, random() * PIECE_MS);
    const base = counterIn(text, "x_proxy");
    const done: Save = { number, way, text, found, base, pausedMs, from, to: now() };
    process.stdout.write(`${JSON.stringify(done)}\n`);
    read = text;
    await Bun.sleep(random() * REST_MS);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
