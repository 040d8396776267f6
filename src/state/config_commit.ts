/**
 * The two-phase commit of the configuration: file and database change together or not at all.
 *
 * Owns the order of the steps (backup, intent, swap, folder, rows), what is done when one of them fails, and
 * what a start does about a run that was killed between two; the matrix is in PROMISES.md. Invariants: the
 * file is wholly old or wholly new at every instant; what was returned is on the disk; memory says what is
 * true after a kill. A save of an editor that came before is a conflict, one that came in between is put back
 * and wins, one that has no place any more is kept and reported. Every call is synchronous, so nothing of this
 * process comes between two steps. Locking the file was rejected: editors ask for no lock.
 */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf, ProxyError } from "../core/errors.ts";
import { removeFile, syncFolder } from "../lib/atomic_file.ts";
import { backoffMs } from "../lib/backoff.ts";
import type { Log } from "../lib/log.ts";
import type { CommitEffects, CommitEntry } from "./commits.ts";
import { decodeConfig, FILE_SIZE_MAX_BYTES, readConfigBytes, resolveLink } from "./config_file.ts";
import { ConfigHistory, hashOf } from "./config_history.ts";
import { findTempFiles, isFileOf, LateLooks, Overtaken, Replacement } from "./config_swap.ts";
import type { Store } from "./store.ts";

export type { CommitEffects } from "./commits.ts";

/** Between two tries to finish what is owed. */
const SETTLE_BASE_MS = 1_000;
const SETTLE_CAP_MS = 60_000;
/** Journal rows whose texts a stray temp file may hold. */
const KNOWN_ROWS = 20;

/** A text to be committed. */
export interface Draft {
  readonly text: string;
  readonly effects: CommitEffects;
  /** One line for people, without secrets. */
  readonly summary: string;
  /** Whether it brings an earlier text back: then the one before is always kept. @default false */
  readonly isRollback?: boolean;
}

/** What came of a {@link Draft}. */
export interface Committed {
  readonly revision: number;
  /** Set when it is in force, but not finished. */
  readonly warning?: string;
}

/** A text of a person that lost a race. */
export interface KeptConflict {
  /** Where it was kept; undefined when that failed too. */
  readonly path: string | undefined;
  readonly text: string;
}

/** Options of {@link ConfigCommit.open}. */
export interface ConfigCommitOptions {
  /** The configuration file; links are followed at each commit. */
  readonly path: string;
  readonly store: Store;
  readonly dataDir: string;
  readonly log: Log;
  readonly onConflict?: (kept: KeptConflict) => void;
}

/** A commit that is true, while the database does not say so yet. */
interface Owed {
  readonly id: number;
  readonly effects: CommitEffects;
  /** Absent when the journal has its intent. */
  readonly entry?: CommitEntry;
  /** To be synced first. */
  readonly folder?: string;
}

/** The one writer of a configuration file. */
export class ConfigCommit implements AsyncDisposable {
  /** The kept versions. */
  readonly history: ConfigHistory;
  readonly #options: ConfigCommitOptions;
  readonly #looks: LateLooks;
  #text = "";
  /** Of the text; comparing a file takes a tenth of the time it takes to hash it. */
  #bytes: Uint8Array = new Uint8Array();
  #hash = "";
  #revision = 0;
  /** Oldest first. */
  #owed: Owed[] = [];
  #settleTries = 0;
  #timer: Timer | undefined;

  private constructor(options: ConfigCommitOptions) {
    this.#options = options;
    this.history = new ConfigHistory(options.dataDir);
    this.#looks = new LateLooks((bytes) => this.#keepConflict(bytes));
  }

  /**
   * Reads the file, ends what a killed run left half done, forward or back as the file tells, and removes its
   * temp files.
   *
   * @throws {ProxyError} `CONFIG_UNREADABLE`
   */
  static open(options: ConfigCommitOptions): ConfigCommit {
    const commit = new ConfigCommit(options);
    commit.#recover();
    return commit;
  }

  /** The number of the text in force. */
  get revision(): number {
    return this.#revision;
  }

  /** The last good text, byte order mark included. */
  get text(): string {
    return this.#text;
  }

  /** SHA-256 of its bytes, hex. */
  get hash(): string {
    return this.#hash;
  }

  /** Whether something is in force that the database could not be told yet. */
  get isDegraded(): boolean {
    return this.#owed.length > 0;
  }

  /**
   * The text at the path, when it is not the last good one.
   *
   * @throws {ProxyError} `CONFIG_UNREADABLE`, also when the file is gone
   */
  readChanged(): string | undefined {
    const { path } = this.#options;
    if (isFileOf(path, this.#bytes)) return undefined;
    const bytes = readConfigBytes(path);
    return hashOf(bytes) === this.#hash ? undefined : decodeConfig(path, bytes);
  }

  /** Takes a text that somebody else wrote and that was found good; never fails. Returns its revision. */
  adopt(text: string, effects: CommitEffects): number {
    const bytes = Buffer.from(text);
    const newHash = hashOf(bytes);
    if (newHash === this.#hash) {
      this.#makeTrue(effects);
      return this.#revision;
    }
    try {
      this.history.keep(this.#bytes, { revision: this.#revision, force: false });
    } catch (error) {
      this.#options.log.warn("Cannot keep a backup of the configuration", { cause: messageOf(error) });
    }
    this.#makeTrue(effects, {
      kind: "external",
      oldHash: this.#hash,
      newHash,
      summary: "edited outside of the proxy",
    });
    this.#hold(text, bytes, newHash);
    return this.#revision;
  }

  /**
   * Makes a text the configuration, with all its effects, or nothing of it. Synchronous; durable when it
   * returns.
   *
   * @throws {ProxyError} `CONFIG_CONFLICT` when the file is not the last good text any more, with both hashes;
   * `CONFIG_UNWRITABLE`. Nothing changed then.
   */
  commit(draft: Draft): Committed {
    const path = this.#attempt(() => resolveLink(this.#options.path));
    const before = this.#attempt(() => this.#readBefore(path));
    const text = draft.text.toWellFormed();
    const after = Buffer.from(text);
    const hash = hashOf(after);
    this.#attempt(() => this.#settle());
    if (before !== undefined && hash === this.#hash) {
      return this.#attempt(() => this.#commitRows(draft.effects));
    }
    if (after.length > FILE_SIZE_MAX_BYTES)
      throw this.#unwritable(new Error("it would be larger than 50 MB"));
    const isRollback = draft.isRollback === true;
    const id = this.#attempt(() => {
      this.history.keep(this.#bytes, { revision: this.#revision, force: isRollback });
      return this.#intend(draft, hash);
    });
    const replacement = new Replacement({
      path,
      before,
      after,
      keep: (bytes) => this.#keepConflict(bytes),
      look: (file, found) => this.#looks.add(file, found),
    });
    try {
      replacement.run();
    } catch (error) {
      this.#abandon(id);
      throw error instanceof Overtaken ? this.#conflict(error.actual) : this.#unwritable(error);
    }
    const warning = this.#finish({ id, effects: draft.effects, folder: dirname(path) }, replacement);
    this.#hold(text, after, hash);
    this.#revision = id;
    const file = replacement.finish();
    if (file !== undefined && before !== undefined) this.#looks.add(file, before);
    return warning === undefined ? { revision: id } : { revision: id, warning };
  }

  /** Ends late looks and tries once more to settle what is owed; idempotent. The store is closed after it. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#looks.close();
    try {
      this.#settle();
    } catch (error) {
      this.#options.log.error("The database was not told of the last change: the next start tells it", {
        cause: messageOf(error),
      });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #hold(text: string, bytes: Uint8Array, hash: string): void {
    [this.#text, this.#bytes, this.#hash] = [text, bytes, hash];
  }

  /** The steps after the swap; returns a warning when they failed and there is no way back. */
  #finish(owed: Owed & { readonly folder: string }, replacement: Replacement): string | undefined {
    const { store } = this.#options;
    const { id, effects, folder } = owed;
    try {
      syncFolder(folder);
      store.applyEffects(effects, { isSynced: true, alongside: () => store.commits.finish(id) });
      return undefined;
    } catch (error) {
      if (replacement.undo()) {
        this.#abandon(id);
        throw this.#unwritable(error);
      }
      store.assumeEffects(effects);
      this.#owe(owed, error);
      return `The change is in force, but could not be finished: ${messageOf(error)}. It is tried again`;
    }
  }

  /** Effects without another text. */
  #commitRows(effects: CommitEffects): Committed {
    if (Object.values(effects).some((rows: readonly unknown[]) => rows.length > 0)) {
      this.#options.store.applyEffects(effects, { isSynced: true, alongside: () => {} });
    }
    return { revision: this.#revision };
  }

  /** The file as it should be; undefined when it is gone. */
  #readBefore(path: string): Uint8Array | undefined {
    if (isFileOf(path, this.#bytes)) return this.#bytes;
    let bytes: Uint8Array;
    try {
      bytes = readConfigBytes(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw error;
    }
    const actual = hashOf(bytes);
    if (actual !== this.#hash) throw this.#conflict(actual);
    return bytes;
  }

  #intend(draft: Draft, newHash: string): number {
    const { store } = this.#options;
    const kind = draft.isRollback === true ? "rollback" : "change";
    const entry = { kind, oldHash: this.#hash, newHash, summary: draft.summary } as const;
    return store.transact(() => store.commits.intend(entry, draft.effects), { isSynced: true });
  }

  /** When this cannot be written, the file's hash tells the next start the same. */
  #abandon(id: number): void {
    const { store, log } = this.#options;
    try {
      store.transact(() => store.commits.abandon(id), { isSynced: false });
    } catch (error) {
      log.warn("Cannot write down that a commit came to nothing", { revision: id, cause: messageOf(error) });
    }
  }

  /** Writes down what is true already; when that fails it is owed. */
  #makeTrue(effects: CommitEffects, entry?: CommitEntry): void {
    const { store } = this.#options;
    const alongside = (): number => (entry === undefined ? this.#revision : store.commits.record(entry));
    try {
      this.#settle();
      this.#revision = store.applyEffects(effects, { isSynced: false, alongside });
    } catch (error) {
      store.assumeEffects(effects);
      if (entry !== undefined) this.#revision += 1;
      this.#owe({ id: this.#revision, effects, ...(entry === undefined ? {} : { entry }) }, error);
    }
  }

  #owe(owed: Owed, error: unknown): void {
    this.#options.log.error(
      "The database cannot be told of a change of the configuration: it is tried again",
      {
        revision: owed.id,
        cause: messageOf(error),
        hint: hintFor(error),
      },
    );
    this.#owed.push(owed);
    this.#settleLater();
  }

  #settleLater(): void {
    this.#settleTries += 1;
    const waitMs = backoffMs(this.#settleTries, { baseMs: SETTLE_BASE_MS, capMs: SETTLE_CAP_MS });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      try {
        this.#settle();
      } catch {
        this.#settleLater();
      }
    }, waitMs);
    this.#timer.unref();
  }

  /** @throws what still stands in the way */
  #settle(): void {
    const { store, log } = this.#options;
    for (let owed = this.#owed[0]; owed !== undefined; owed = this.#owed[0]) {
      const { id, effects, entry, folder } = owed;
      if (folder !== undefined) syncFolder(folder);
      store.settleEffects(effects, () => {
        if (entry === undefined) store.commits.finish(id);
        else store.commits.record(entry, id);
      });
      this.#owed.shift();
      log.info("The database was told of a change of the configuration", { revision: id });
    }
    clearTimeout(this.#timer);
    this.#settleTries = 0;
  }

  #recover(): void {
    const { store, log, path } = this.#options;
    const real = resolveLink(path);
    const bytes = this.#readFirst();
    this.#hold(decodeConfig(path, bytes), bytes, hashOf(bytes));
    const pending = store.commits.findPending();
    if (pending?.newHash === this.#hash) {
      this.#rollForward({ id: pending.id, effects: pending.effects, folder: dirname(real) });
      log.info("A commit that was under way is finished", { revision: pending.id, summary: pending.summary });
    } else if (pending !== undefined) {
      this.#abandon(pending.id);
      const isOld = pending.oldHash === this.#hash;
      const fate = isOld ? "the old configuration stays" : "the file was edited since and counts as it is";
      log.warn(`A commit that was under way came to nothing: ${fate}`, { summary: pending.summary });
    }
    if (this.#revision === 0) this.#recordStart();
    this.#clean(real);
  }

  #readFirst(): Uint8Array {
    const { path } = this.#options;
    try {
      return readConfigBytes(path);
    } catch (error) {
      const { newest } = this.history;
      if (!(error instanceof ProxyError) || codeOf(error) !== "ENOENT" || newest === undefined) throw error;
      throw new ProxyError("CONFIG_UNREADABLE", error.message, {
        data: { path },
        hint: `Check the path; the last kept version is '${newest}'`,
        cause: error.cause,
      });
    }
  }

  #rollForward(owed: Owed & { readonly folder: string }): void {
    const { store } = this.#options;
    const { id, effects, folder } = owed;
    this.#revision = id;
    try {
      // The killed run may not have come to it, and the database must not run ahead of the file.
      syncFolder(folder);
      store.applyEffects(effects, { isSynced: true, alongside: () => store.commits.finish(id) });
    } catch (error) {
      store.assumeEffects(effects);
      this.#owe(owed, error);
    }
  }

  /** The text has a number from before, or gets one. */
  #recordStart(): void {
    const { store } = this.#options;
    const last = store.commits.findLast();
    if (last?.newHash === this.#hash) {
      this.#revision = last.id;
      return;
    }
    this.#revision = last?.id ?? 0;
    this.#makeTrue(
      {},
      last === undefined
        ? { kind: "start", oldHash: "", newHash: this.#hash, summary: "first seen" }
        : {
            kind: "external",
            oldHash: last.newHash,
            newHash: this.#hash,
            summary: "edited while the proxy was stopped",
          },
    );
  }

  /** Removes temp files; one with a text that no commit knows is a person's. */
  #clean(real: string): void {
    const { store, log } = this.#options;
    try {
      this.history.clean();
      const strays = findTempFiles(real);
      if (strays.length === 0) return;
      const rows = store.commits.list(KNOWN_ROWS);
      const known = new Set([this.#hash, ...rows.flatMap(({ oldHash, newHash }) => [oldHash, newHash])]);
      // Killed before the swap: then it is ours, perhaps half of it.
      const isBeforeSwap = rows[0]?.state === "abandoned" && rows[0].oldHash === this.#hash;
      for (const stray of strays) {
        const found = readFileSync(stray);
        if (!isBeforeSwap && !known.has(hashOf(found))) this.#keepConflict(found);
        removeFile(stray);
      }
    } catch (error) {
      log.warn("Cannot clean up beside the configuration", { path: real, cause: messageOf(error) });
    }
  }

  #keepConflict(bytes: Uint8Array): void {
    const { log, onConflict } = this.#options;
    let path: string | undefined;
    try {
      path = this.history.keepConflict(bytes);
      log.warn("A text was saved over at the same moment; it is kept", { path });
    } catch (error) {
      log.error("A text was saved over at the same moment and cannot be kept", { cause: messageOf(error) });
    }
    onConflict?.({ path, text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) });
  }

  #attempt<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (error instanceof ProxyError && error.code === "CONFIG_CONFLICT") throw error;
      throw this.#unwritable(error);
    }
  }

  #conflict(actual: string): ProxyError {
    return new ProxyError(
      "CONFIG_CONFLICT",
      `Cannot write configuration '${this.#options.path}': it was changed outside of the proxy`,
      {
        data: { expected: this.#hash, actual },
        hint: "Look at what changed, and send the change again",
      },
    );
  }

  #unwritable(error: unknown): ProxyError {
    const { path } = this.#options;
    const cause = messageOf(error).replace(/^Cannot read configuration '.*': /s, "");
    const detail = codeOf(error).startsWith("SQLITE_") ? `the database answers '${cause}'` : cause;
    return new ProxyError("CONFIG_UNWRITABLE", `Cannot write configuration '${path}': ${detail}`, {
      data: { path },
      hint: hintFor(error),
      cause: error,
    });
  }
}

/** The system's code of an error, or of what caused it. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if (error instanceof ProxyError) return codeOf(error.cause);
  return "code" in error && typeof error.code === "string" ? error.code : "";
}

function hintFor(error: unknown): string {
  if (error instanceof ProxyError && error.hint !== undefined) return error.hint;
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_FULL") return "Free some space on the disk";
  if (code === "EROFS") return "Mount the folder of the file for writing";
  if (code === "EACCES" || code === "EPERM")
    return "Let the user of the proxy write into the folder of the file";
  if (code === "EBUSY") return "Mount the folder of the file, not the file alone";
  if (code === "ENOENT" || code === "ENOTDIR") return "Make the folder of the file again";
  return "Check the disk, and the folders of the file and of the data dir";
}
