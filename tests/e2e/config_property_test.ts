/**
 * Any sequence of plans, edits by hand and crashes keeps the configuration.
 *
 * Owns the sequences: a process with the configuration is asked, killed at any instant and started again, while the file is edited
 * beside it; after each step the file is held against a model and, byte by byte, against the text before. Run alone:
 * `SEED=n bun test tests/e2e/config_property_test.ts` repeats one sequence; a kill hits another instant each time.
 */
import { afterAll, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parseJsonc } from "../../src/lib/jsonc.ts";
import { tempDir } from "../fixtures/wait.ts";
import { agrees } from "./config_agreement.ts";
import { strayEdit } from "./config_bytes.ts";
import { Chance } from "./config_chance.ts";
import type { DriverAsk, DriverReply } from "./config_driver.ts";
import { changed, editedByHand, started } from "./config_model.ts";
import type { Changed, ModelRequest, ModelState } from "./config_model.ts";
import { ConfigProcess } from "./config_process.ts";
import { verifies } from "../requirements.ts";

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const SEED = process.env["SEED"];
const SEQUENCES = 8;
const FACTOR = IS_FULL ? 10 : 1;
const PLANS = 130;
const KILL_RATIO = 0.075;
const EDIT_RATIO = 0.22;
const START_MS = 2_000;
/** Of the time to the answer: when a kill comes, so that most hit the commit, which is the second half of it. */
const KILL_FROM_RATIO = 0.25;
const KILL_TO_RATIO = 1.15;
const LANES = 2;
const TIMEOUT_MS = 120_000 * FACTOR;

const counts = {
  plans: 0,
  edits: 0,
  races: 0,
  kills: 0,
  killsAtStart: 0,
  unanswered: 0,
  /** Kills that left a temp file behind: they hit the commit itself. */
  inCommit: 0,
  old: 0,
  new: 0,
  /** Texts of a race that were kept in `backups/`. */
  kept: 0,
  slowestStartMs: 0,
};

afterAll(() => console.log(`configuration property: ${JSON.stringify(counts)}`));

/** What may be true now. */
interface Candidate {
  readonly what: string;
  readonly state: ModelState;
  /** What the file's text came from by plans alone. */
  readonly base: string;
  /** A text that has to be among the conflicts then. */
  readonly kept?: string;
}

/** One sequence on a folder of its own. */
class Sequence {
  readonly #chance: Chance;
  readonly #root: string;
  readonly #config: string;
  readonly #dataDir: string;
  readonly #trail: string[] = [];
  #driver: ConfigProcess;
  #state: ModelState;
  #text: string;
  #revision = 0;
  /** Time from a request to its answer, lately. */
  #answerMs = 4;
  /** A text saved by hand that the driver may not have taken. */
  #pending: string | undefined;

  constructor(seed: number, root: string) {
    this.#chance = new Chance(seed);
    this.#root = root;
    this.#config = join(root, "conf", "c.json");
    this.#dataDir = join(root, "data");
    for (const folder of ["conf", "data"]) mkdirSync(join(root, folder), { recursive: true });
    this.#text = this.#chance.file({ isMap: seed % 2 === 1, isWindows: seed % 4 >= 2 });
    this.#state = started(this.#text);
    writeFileSync(this.#config, this.#text, { mode: 0o600 });
    this.#driver = new ConfigProcess(this.#config, this.#dataDir);
  }

  /** @throws with the last steps when something does not hold */
  async run(plans: number): Promise<void> {
    try {
      this.#settle([{ what: "start", state: this.#state, base: this.#text }], await this.#driver.next());
      for (let plan = 0; plan < plans; plan += 1) await this.#step();
      await this.#restart([{ what: "idle", state: this.#state, base: this.#text }]);
    } catch (error) {
      const steps = this.#trail.slice(-4).join("\n");
      throw new Error(`${error instanceof Error ? error.message : String(error)}\nafter:\n${steps}`, {
        cause: error,
      });
    } finally {
      await this.#driver.kill();
    }
  }

  async #step(): Promise<void> {
    const isLucky = (ratio: number): boolean => this.#chance.isLucky(ratio);
    const isEdited = isLucky(EDIT_RATIO);
    if (isEdited && isLucky(0.06)) await this.#breakFile();
    else if (isEdited && isLucky(0.05)) await this.#removeFile();
    else if (isEdited && isLucky(0.3)) await this.#race(isLucky(KILL_RATIO * 2));
    else {
      if (isEdited) this.#edit();
      await this.#plan(isLucky(KILL_RATIO));
    }
    if (isLucky(KILL_RATIO / 5)) {
      this.#trail.push("killed while idle");
      await this.#restart([{ what: "idle", state: this.#state, base: this.#text }]);
    }
  }

  /** Saves another text by hand, over the file or into it. */
  #edit(): void {
    const text = this.#chance.edit(this.#text);
    this.#save(text, this.#chance.isLucky(0.5));
    this.#pending = text;
    counts.edits += 1;
    this.#trail.push("edited by hand");
  }

  #save(text: string, isInPlace: boolean): void {
    if (isInPlace) return writeFileSync(this.#config, text);
    const beside = join(this.#root, "beside.json");
    writeFileSync(beside, text, { mode: 0o600 });
    return renameSync(beside, this.#config);
  }

  async #plan(isKilled: boolean): Promise<void> {
    const [base, edit] = [this.#state, this.#pending];
    const before = edit === undefined ? base : editedByHand(base, edit);
    const text = edit ?? this.#text;
    const request = this.#request(before);
    const after = changed(before, request);
    const isStale = edit === undefined && this.#chance.isLucky(0.04);
    const done: Candidate = { what: "new", state: isStale ? before : after.state, base: text };
    this.#driver.send(askOf(request, isStale ? { revision: this.#revision - 1 } : {}));
    this.#pending = undefined;
    if (isKilled) {
      const olds: Candidate[] = [{ what: "old", state: started(text, base), base: text }];
      if (edit !== undefined) olds.push({ what: "old", state: before, base: text });
      const reply = await this.#killSoon(KILL_FROM_RATIO);
      if (reply === undefined) return this.#restart([...olds, done], true);
      this.#check(reply, isStale ? { ...after, code: "CONFIG_CONFLICT" } : after);
      return this.#restart([done]);
    }
    const sentAt = performance.now();
    const reply = await this.#driver.next();
    if (reply === undefined) throw new Error("The driver ended");
    this.#answerMs += (performance.now() - sentAt - this.#answerMs) / 8;
    this.#check(reply, isStale ? { ...after, code: "CONFIG_CONFLICT" } : after);
    this.#settle([done], reply);
    return undefined;
  }

  /** A save by hand and a request at the same moment. */
  async #race(isKilled: boolean): Promise<void> {
    const [base, text] = [this.#state, this.#text];
    const edit = this.#chance.edit(text);
    const request = this.#request(base);
    const first = changed(base, request);
    const edited = editedByHand(base, edit);
    const overwritten = editedByHand(first.state, edit);
    const both = changed(edited, request);
    const candidates: Candidate[] = [
      { what: "new", state: both.state, base: edit },
      { what: "new", state: overwritten, base: edit },
      { what: "new", state: first.state, base: text, kept: edit },
    ];
    counts.races += 1;
    counts.edits += 1;
    this.#trail.push("edited by hand while a plan is done");
    this.#driver.send(askOf(request));
    Bun.sleepSync(this.#chance.random() * KILL_TO_RATIO * this.#answerMs);
    this.#save(edit, false);
    const reply = isKilled ? await this.#killSoon(0) : await this.#driver.next();
    if (isKilled) {
      return this.#restart(
        [
          ...candidates,
          { what: "old", state: edited, base: edit },
          { what: "old", state: started(edit, base), base: edit },
          { what: "new", state: started(edit, first.state), base: edit },
        ],
        reply === undefined,
      );
    }
    if (reply === undefined) throw new Error("The driver ended");
    this.#settle(candidates, await this.#driver.ask({ ask: "reload" }));
    return undefined;
  }

  /** Half a text is at the path while a plan is asked for: refused, and nothing of the text is touched. */
  async #breakFile(): Promise<void> {
    const half = this.#text.slice(0, Math.floor(this.#text.length * (0.2 + 0.5 * this.#chance.random())));
    this.#save(half, true);
    counts.edits += 1;
    this.#trail.push("half a text is at the path");
    const reply = await this.#driver.ask(askOf(this.#request(this.#state)));
    if (reply.code !== "CONFIG_INVALID") throw new Error(`half a text was answered ${JSON.stringify(reply)}`);
    if (readFileSync(this.#config, "utf8") !== half) throw new Error("half a text was touched");
    this.#save(this.#text, true);
    await this.#plan(false);
  }

  /** The next change that writes makes it anew. */
  async #removeFile(): Promise<void> {
    const [state, text] = [this.#state, this.#text];
    unlinkSync(this.#config);
    counts.edits += 1;
    this.#trail.push("the file is removed");
    const request = this.#request(state);
    const after = changed(state, request);
    const reply = await this.#driver.ask(askOf(request));
    this.#check(reply, after);
    if (!existsSync(this.#config)) this.#save(text, false);
    this.#settle([{ what: "new", state: after.state, base: text }], reply);
  }

  #request(state: ModelState): ModelRequest {
    const request = this.#chance.request(state);
    counts.plans += 1;
    this.#trail.push(`asked ${JSON.stringify(request)}`);
    return request;
  }

  /** Kills about when the answer is due; returns what was answered in time. */
  async #killSoon(fromRatio: number): Promise<DriverReply | undefined> {
    const ratio = fromRatio + (KILL_TO_RATIO - fromRatio) * this.#chance.random();
    Bun.sleepSync(ratio * this.#answerMs);
    await this.#driver.kill();
    counts.kills += 1;
    const reply = await this.#driver.next();
    if (reply === undefined) counts.unanswered += 1;
    if (readdirSync(join(this.#root, "conf")).length > 1) counts.inCommit += 1;
    this.#trail.push(`killed, ${reply === undefined ? "unanswered" : "answered"}`);
    return reply;
  }

  /** Starts again after a kill, perhaps killed once more on the way, and looks at everything. */
  async #restart(candidates: readonly Candidate[], isOpen = false): Promise<void> {
    await this.#driver.kill();
    if (this.#chance.isLucky(0.2)) {
      this.#driver = new ConfigProcess(this.#config, this.#dataDir);
      await Bun.sleep(30 + 150 * this.#chance.random());
      await this.#driver.kill();
      counts.kills += 1;
      counts.killsAtStart += 1;
      this.#trail.push("killed at the start");
    }
    const startedAt = performance.now();
    this.#driver = new ConfigProcess(this.#config, this.#dataDir);
    const reply = await this.#driver.next();
    const tookMs = performance.now() - startedAt;
    counts.slowestStartMs = Math.max(counts.slowestStartMs, Math.round(tookMs));
    if (reply === undefined) throw new Error("The driver does not start again");
    if (tookMs > START_MS) throw new Error(`The start took ${Math.round(tookMs)} ms`);
    const { what } = this.#settle(candidates, reply);
    if (isOpen) counts[what === "old" ? "old" : "new"] += 1;
    this.#checkFolders(reply);
  }

  /** The answer says what the model says. */
  #check(reply: DriverReply, after: Changed): void {
    const { ok, code, message, refused = [] } = reply;
    if (ok !== (after.code === undefined) || (!ok && code !== after.code)) {
      throw new Error(`answered ${ok ? "ok" : `${code}: ${message}`}, meant was ${after.code ?? "ok"}`);
    }
    if (!Bun.deepEquals(refused, ok ? after.refused : [])) {
      throw new Error(`refused ${JSON.stringify(refused)}, meant was ${JSON.stringify(after.refused)}`);
    }
  }

  /** Finds the candidate that holds; everything is as it says, or it is not it. */
  #settle(candidates: readonly Candidate[], reply: DriverReply | undefined): Candidate {
    if (reply === undefined) throw new Error("The driver ended");
    const text = readFileSync(this.#config, "utf8");
    const reasons: string[] = [];
    for (const candidate of candidates) {
      const found = agrees(candidate.state, text, reply);
      const stray = typeof found === "string" ? undefined : strayEdit(candidate.base, text);
      if (typeof found === "string") reasons.push(`${candidate.what}: ${found}`);
      else if (stray !== undefined) reasons.push(`${candidate.what}: ${stray}`);
      else if (candidate.kept !== undefined && !this.#isKept(candidate.kept))
        reasons.push("a text saved by hand is lost");
      else {
        if (candidate.kept !== undefined) counts.kept += 1;
        if (hashOf(text) !== reply.hash) throw new Error("another text is in force than the file's");
        if (reply.isDegraded) throw new Error("it is degraded");
        if (reply.journal.pending > 0) throw new Error("a commit is left pending");
        if (reply.journal.last !== reply.hash) throw new Error("the journal ends with another text");
        if (reply.revision < this.#revision) throw new Error("the revision went back");
        if (reply.journal.ids.some((id, at, ids) => at > 0 && id >= (ids[at - 1] ?? 0)))
          throw new Error("numbers of the journal do not grow");
        this.#revision = reply.revision;
        this.#state = found;
        this.#text = text;
        return candidate;
      }
    }
    throw new Error(`neither old nor new: ${reasons.join("; ")}`);
  }

  #isKept(text: string): boolean {
    const folder = join(this.#dataDir, "backups");
    const names = existsSync(folder)
      ? readdirSync(folder).filter((name) => name.startsWith("conflict-"))
      : [];
    return names.some((name) => readFileSync(join(folder, name), "utf8") === text);
  }

  #checkFolders({ hash }: DriverReply): void {
    const backups = join(this.#dataDir, "backups");
    const left = (folder: string, known: RegExp): string[] =>
      (existsSync(folder) ? readdirSync(folder) : []).filter((name) => !known.test(name));
    const litter = [
      ...left(join(this.#root, "conf"), /^c\.json$/),
      ...left(this.#dataDir, /^(?:mcpproxy\.db(?:-wal)?|backups)$/),
      ...left(backups, /^(?:config|conflict)-.*\.json$/),
    ];
    if (litter.length > 0) throw new Error(`left behind: ${litter.join(", ")}`);
    for (const name of existsSync(backups) ? readdirSync(backups) : []) {
      const kept = readFileSync(join(backups, name), "utf8");
      if (parseJsonc(kept.replace(/^\ufeff/, "")).faults.length > 0)
        throw new Error(`the backup '${name}' is broken`);
    }
    if (hash !== hashOf(this.#text)) throw new Error("the file changed after the start");
  }
}

function askOf({ operations, isLenient, isByPerson }: ModelRequest, more: object = {}): DriverAsk {
  return { ask: "change", operations, isLenient, isByPerson, ...more } as unknown as DriverAsk;
}

function hashOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}

test(
  "Configuration keeps every change and every comment through plans, edits by hand and kills",
  async () => {
    verifies("CONFIG-P1-PROPERTY");
    const first = SEED === undefined ? Math.floor(Math.random() * 1_000_000) * 4 : Number(SEED);
    const seeds = Array.from({ length: SEED === undefined ? SEQUENCES * FACTOR : 1 }, (_, at) => first + at);
    const lane = async (): Promise<void> => {
      for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
        using folder = tempDir();
        await new Sequence(seed, folder.path).run(PLANS).catch((error: unknown) => {
          throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          });
        });
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    if (SEED !== undefined) return;
    expect(counts.plans).toBeGreaterThanOrEqual(1_000 * FACTOR);
    expect(counts.edits).toBeGreaterThanOrEqual(150 * FACTOR);
    expect(counts.kills).toBeGreaterThanOrEqual(60 * FACTOR);
    expect(counts.old).toBeGreaterThan(0);
    expect(counts.new).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);
