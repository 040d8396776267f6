/**
 * An editor saves while the proxy writes: nobody's work is lost, and nothing half is ever in force.
 *
 * Owns the account of every save. A save counts as safe when the proxy took it, or kept it in `backups/` and said so, or when
 * the editor itself, saving again, still found it in the file. The proxy's own change may be overwritten by an editor that
 * saves from an older text: that is the editor's decision, and it is counted. `MCPPROXY_TEST_SEED` gives another race.
 */
import { expect, spyOn, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { hashOf } from "../../src/state/config_history.ts";
import { Overtaken, Replacement } from "../../src/state/config_swap.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { counterIn } from "./editor_process.ts";
import type { Save, Way } from "./editor_process.ts";
import { openFolder, openLive } from "./live_proxy.ts";

const TEST_MS = 90_000;
const SAVES = 500;
/** Longer than every wait of the proxy for a writer. */
const QUIET_MS = 1_000;
const SEED = process.env["MCPPROXY_TEST_SEED"] ?? "7";

/** A text that came in force, and by whom. */
interface InForce {
  readonly by: "editor" | "proxy";
  readonly text: string;
}

/** A time in which the proxy's text lay at the path and was taken away again, and the hash of the editor's before and after it. */
interface PutBack {
  readonly hash: string;
  readonly from: number;
  readonly to: number;
}

/** An editor that was kept from running for so long between two pieces cannot be told from one that is done. */
const PAUSE_MS = 15;
/** Clocks of two processes differ by less. */
const SKEW_MS = 2;

function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Notes each text that comes in force, and each that was put back, until disposed. */
function watchTexts(): Disposable & {
  readonly texts: readonly InForce[];
  readonly putBack: readonly PutBack[];
} {
  const texts: InForce[] = [];
  const putBack: PutBack[] = [];
  // oxlint-disable-next-line typescript/unbound-method -- called with its replacement below
  const { run } = Replacement.prototype;
  // oxlint-disable-next-line typescript/unbound-method -- called with its commit below
  const { adopt, commit } = ConfigCommit.prototype;
  const spies = [
    spyOn(ConfigCommit.prototype, "adopt").mockImplementation(function (this: ConfigCommit, text, effects) {
      const revision = adopt.call(this, text, effects);
      texts.push({ by: "editor", text });
      return revision;
    }),
    spyOn(ConfigCommit.prototype, "commit").mockImplementation(function (this: ConfigCommit, draft) {
      const committed = commit.call(this, draft);
      texts.push({ by: "proxy", text: draft.text });
      return committed;
    }),
    spyOn(Replacement.prototype, "run").mockImplementation(function (this: Replacement) {
      const from = now();
      try {
        run.call(this);
      } catch (error) {
        if (error instanceof Overtaken) putBack.push({ hash: error.actual, from, to: now() });
        throw error;
      }
    }),
  ];
  return {
    texts,
    putBack,
    [Symbol.dispose]: () => {
      for (const spy of spies) spy.mockRestore();
    },
  };
}

function half(text: string): string {
  return `${counterIn(text, "x_editor")} … ${counterIn(text, "x_end")}`;
}

async function runEditor(path: string): Promise<readonly Save[]> {
  const argv = [process.execPath, join(import.meta.dir, "editor_process.ts"), path, String(SAVES), SEED];
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const text = await child.stdout.text();
  expect(await child.exited).toBe(0);
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Save);
}

test(
  `of ${SAVES} saves of an editor while the proxy writes none is lost, and nothing half is in force`,
  async () => {
    verifies("EDITOR-NO-LOST-SAVE");
    const servers = Array.from({ length: 20 }, (_, at) => ({
      name: `s${at}`,
      command: "never-started",
      args: ["-y", `package-${at}`, "x".repeat(200)],
      startup_mode: "disabled",
    }));
    const body = JSON.stringify({ x_editor: 0, x_proxy: 0, mcpServers: servers, x_end: 0 }, null, 2);
    using place = openFolder(`// Shared\n${body}\n`);
    using watched = watchTexts();
    await using live = await openLive(place);
    const { texts, putBack } = watched;

    const done = new AbortController();
    const acknowledged: number[] = [];
    const refusals = new Map<string, number>();
    const writing = (async () => {
      for (let number = 1; !done.signal.aborted; number += 1) {
        const operations = [{ op: "settings", patch: { x_proxy: number } }];
        const reply = await live.api("/config/apply", { method: "POST", body: { operations } });
        if (reply.status === 200) acknowledged.push(number);
        else refusals.set(String(reply.body["code"]), (refusals.get(String(reply.body["code"])) ?? 0) + 1);
      }
    })();
    const startedAt = performance.now();
    const saves = await runEditor(place.file);
    done.abort();
    await writing;
    const tookMs = performance.now() - startedAt;

    // What was saved last is taken, then nothing happens any more.
    await waitFor("the last text is in force", () => texts.at(-1)?.text === readFileSync(place.file, "utf8"));
    const [revision, count] = [await live.revision(), texts.length];
    await Bun.sleep(QUIET_MS);
    expect([await live.revision(), texts.length]).toEqual([revision, count]);

    const meant = new Set(saves.map(({ text }) => text));
    const final = readFileSync(place.file, "utf8");
    const backups = join(live.dataDir, "backups");
    const kept = readdirSync(backups)
      .filter((name) => name.startsWith("conflict-"))
      .map((name) => readFileSync(join(backups, name), "utf8"));
    // The first one is the start's.
    const taken = new Set(
      texts
        .slice(1)
        .filter(({ by }) => by === "editor")
        .map(({ text }) => text),
    );
    // The editor, saving again, looked within the millisecond in which the proxy's text lay at the path.
    const isUnseen = ({ number, text }: Save): boolean => {
      const next = saves[number];
      const hash = hashOf(Buffer.from(text));
      const isWithin = ({ from, to }: PutBack): boolean =>
        next !== undefined && next.from > from - SKEW_MS && next.from < to + SKEW_MS;
      return putBack.some((one) => one.hash === hash && isWithin(one));
    };
    const isSafe = (save: Save): boolean =>
      taken.has(save.text) ||
      kept.includes(save.text) ||
      (saves[save.number]?.found ?? counterIn(final, "x_editor")) === save.number ||
      isUnseen(save);
    const lost = saves.filter((save) => !isSafe(save));
    expect(lost.map(({ number, way, found, base }) => ({ number, way, found, base }))).toEqual([]);

    // Nothing half was taken, told of, or put into the file.
    const slow = new Set(saves.filter(({ pausedMs }) => pausedMs > PAUSE_MS).map(({ number }) => number));
    const halves = [...taken].filter((text) => !meant.has(text) && !slow.has(counterIn(text, "x_editor")));
    expect(halves.map(half)).toEqual([]);
    expect(live.of("config_invalid").map(({ data }) => data.message)).toEqual([]);
    const reloads = live.of("config_reloaded").length;
    expect(reloads).toBeLessThanOrEqual(SAVES);
    expect(readdirSync(live.folder).filter((name) => name.endsWith(".mcpproxy-tmp"))).toEqual([]);
    const told = live.lines.filter((line) =>
      line.includes("Somebody saved the configuration while it was written"),
    );
    expect(told).toHaveLength(kept.length);

    // Each text of the proxy is the one before it with the proxy's change, and an acknowledged change was in force.
    let [overwritten, before] = [0, counterIn(texts[0]?.text ?? "", "x_proxy")];
    const inForce = new Set<number>();
    for (const [at, { by, text }] of texts.entries()) {
      const counter = counterIn(text, "x_proxy");
      if (by === "editor" && counter < before) overwritten += 1;
      if (by === "proxy") {
        inForce.add(counter);
        const previous = texts[at - 1]?.text ?? "";
        expect(text === previous.replace(/"x_proxy": \d+/, `"x_proxy": ${counter}`)).toBe(true);
      }
      before = counter;
    }
    // Refused only while the editor was faster than every try, or in the middle of a save.
    expect(
      [...refusals.keys()].filter((code) => code !== "CONFIG_CONFLICT" && code !== "CONFIG_INVALID"),
    ).toEqual([]);
    expect(acknowledged.filter((number) => !inForce.has(number))).toEqual([]);
    expect(counterIn(final, "x_proxy")).toBe(before);
    expect(overwritten).toBeLessThanOrEqual(
      saves.filter(({ base }, at) => base < (saves[at + 1]?.base ?? base + 1)).length,
    );
    const ways = Object.groupBy(saves, ({ way }) => way) as Readonly<Record<Way, readonly Save[]>>;
    const unseen = saves.filter((save) => isUnseen(save)).length;
    const partly = kept.filter((text) => !meant.has(text)).length;
    console.info(
      [
        `${SAVES} saves in ${Math.round(tookMs)} ms (${Object.entries(ways)
          .map(([way, all]) => `${way} ${all.length}`)
          .join(", ")}):`,
        `${reloads} reloads, ${kept.length} kept as conflicts (${partly} of them no whole save), ${putBack.length} put back (${unseen} unseen)`,
        `proxy: ${acknowledged.length} changes acknowledged, ${overwritten} times overwritten by the editor, refused: ${JSON.stringify(Object.fromEntries(refusals))}`,
      ].join("\n  "),
    );
  },
  TEST_MS,
);
