/**
 * An editor that saves in the very middle of a commit.
 *
 * Owns the three moments: before the swap, after it, and while a text is put back. The commit is held at its system
 * calls by strace, so that the moment is hit each time; without strace this reports itself skipped.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import type { DriverAnswer } from "./commit_driver.ts";
import { NEW, OLD, prepare } from "./crash_points.ts";
import type { Place } from "./crash_points.ts";
import { startDriver } from "./driver_process.ts";
import { attach, hasStrace } from "./strace.ts";

/** How long each exchange is held, in microseconds. */
const HOLD_US = 400_000;
const TIMEOUT_MS = 30_000;

interface Race {
  readonly place: Place;
  /** Saves as editors do, with a new file renamed over the old one. */
  readonly save: (text: string) => void;
  /** Waits until the commit wrote its text and is about to swap it in. */
  readonly isWritten: () => Promise<unknown>;
  /** Waits until the new text is at the path. */
  readonly isSwapped: () => Promise<unknown>;
}

/** Runs one commit, held at `delay` of each exchange, while `edit` goes on. */
async function race(
  delay: "delay_enter" | "delay_exit",
  edit: (race: Race) => Promise<void>,
): Promise<{
  readonly answer: DriverAnswer | undefined;
  readonly file: string;
  readonly conflicts: string[];
}> {
  using folder = tempDir();
  const place = await prepare(folder.path, { start: startDriver() });
  const program = await startDriver()(place);
  const temp = join(folder.path, "conf", `.c.json.${program.pid}-0.mcpproxy-tmp`);
  const output = join(folder.path, "trace");
  const tracer = await attach(program.pid, {
    output,
    trace: "renameat2",
    inject: [`renameat2:${delay}=${HOLD_US}`],
  });
  const answering = program.ask(NEW);
  await edit({
    place,
    save: (text) => {
      writeFileSync(join(folder.path, "saved"), text);
      renameSync(join(folder.path, "saved"), place.target);
    },
    isWritten: () =>
      waitFor("the temp file", () => existsSync(temp) && statSync(temp).size === NEW.text.length),
    isSwapped: () => waitFor("the swap", () => readFileSync(place.target, "utf8") === NEW.text),
  });
  const answer = await answering;
  await tracer.detach();
  await program.kill();
  const backups = join(place.dataDir, "backups");
  const conflicts = readdirSync(backups).filter((name) => name.startsWith("conflict-"));
  expect(readdirSync(join(folder.path, "conf"))).toEqual(["c.json"]);
  return {
    answer,
    file: readFileSync(place.target, "utf8"),
    conflicts: conflicts.map((name) => readFileSync(join(backups, name), "utf8")),
  };
}

test.skipIf(!hasStrace)(
  "ConfigCommit: a save between the look at the file and the swap wins, and the change is refused",
  async () => {
    const { answer, file, conflicts } = await race("delay_enter", async ({ isWritten, save }) => {
      await isWritten();
      save("theirs");
    });
    expect(answer).toMatchObject({ ok: false, code: "CONFIG_CONFLICT", text: OLD.text, isDegraded: false });
    expect(answer?.definitionHash).toBe(OLD.definitionHash);
    expect([file, conflicts]).toEqual(["theirs", []]);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit: a save right after the swap is an edit of the new text, and both count",
  async () => {
    const { answer, file, conflicts } = await race("delay_exit", async ({ isSwapped, save }) => {
      await isSwapped();
      save("theirs");
    });
    expect(answer).toMatchObject({ ok: true, text: NEW.text, definitionHash: NEW.definitionHash });
    expect([file, conflicts]).toEqual(["theirs", []]);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit: of two saves in one commit the later one is in the file and the earlier one is kept",
  async () => {
    const { answer, file, conflicts } = await race("delay_enter", async ({ isWritten, isSwapped, save }) => {
      await isWritten();
      save("theirs, first");
      await isSwapped();
      save("theirs, second");
    });
    expect(answer).toMatchObject({ ok: false, code: "CONFIG_CONFLICT", text: OLD.text });
    expect([file, conflicts]).toEqual(["theirs, second", ["theirs, first"]]);
  },
  TIMEOUT_MS,
);
