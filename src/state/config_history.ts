/**
 * The kept versions of the configuration, and the difference between two of them.
 *
 * Owns the folder `data_dir/backups`: the last ten good texts, at most one a minute, and texts of people that
 * lost a race. Invariants: a backup is on the disk before the text it holds is replaced; its name tells when
 * and which revision; files are 0600; a difference shows no secret. Texts in the database were rejected: a
 * person in need can copy a file.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf, ProxyError } from "../core/errors.ts";
import { holdsBytes, removeFile, syncFolder, writeNewFile } from "../lib/atomic_file.ts";
import { parseJsonc } from "../lib/jsonc.ts";
import { diffLines } from "../lib/line_diff.ts";
import { isSecretName, redactText } from "../lib/redact.ts";

const BACKUPS_MAX = 10;
/** A race is rare; these are texts that exist nowhere else. */
const CONFLICTS_MAX = 1_000;
const BACKUP_EVERY_MS = 60_000;

const BACKUP_NAME = /^config-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z)-r(\d+)\.json$/;
const CONFLICT_NAME = /^conflict-.+\.json$/;
const TEMP_NAME = "incoming.tmp";

/** A kept version. */
export interface Backup {
  /** What {@link ConfigHistory.read} takes; the file's name without its ending. */
  readonly id: string;
  /** When it was replaced, ISO 8601. */
  readonly time: string;
  /** The revision it is the text of. */
  readonly revision: number;
  /** SHA-256 of the file, hex. */
  readonly hash: string;
  readonly bytes: number;
}

/** The folder of kept versions; made when the first one is kept. */
export class ConfigHistory {
  readonly #folder: string;
  #lastAt: number | undefined;

  constructor(dataDir: string) {
    this.#folder = join(dataDir, "backups");
  }

  /** The kept versions, newest first. */
  list(): Backup[] {
    return this.#backups().flatMap((name) => {
      const path = join(this.#folder, name);
      try {
        const content = readFileSync(path);
        const id = name.slice(0, -".json".length);
        return { id, ...partsOf(name), hash: hashOf(content), bytes: content.length };
      } catch {
        // Removed in the meantime.
        return [];
      }
    });
  }

  /**
   * The text of a kept version, byte order mark included.
   *
   * @param id as {@link list} gives it, or the number of a revision
   * @throws {ProxyError} `REVISION_UNKNOWN`
   */
  read(id: string): string {
    const name = this.#backups().find((one) => one === `${id}.json` || String(partsOf(one).revision) === id);
    try {
      if (name !== undefined) return decode(readFileSync(join(this.#folder, name)));
    } catch {
      // As good as not there.
    }
    throw new ProxyError("REVISION_UNKNOWN", `Cannot read revision '${id}': no backup of it is kept`, {
      data: { id },
      hint: "Run: mcpproxy config history",
    });
  }

  /** The difference of two texts in unified form, secrets masked; empty when they are equal. */
  diff(before: string, after: string): string {
    const secrets = new Set([...secretsOf(before), ...secretsOf(after)]);
    return diffLines(before, after)
      .map((line) => redactText(line, secrets))
      .join("\n");
  }

  /**
   * Keeps a good text that is about to be replaced, when one is due.
   *
   * @param force whether it is kept though the last minute has a backup already
   * @throws the system's error
   */
  keep(bytes: Uint8Array, options: { readonly revision: number; readonly force: boolean }): void {
    const now = Date.now();
    // A backup of the future is a clock that was set back.
    const isEnough = (): boolean => {
      const at = this.#lastAt ?? 0;
      return !options.force && now - at < BACKUP_EVERY_MS && now >= at;
    };
    if (isEnough()) return;
    const [newest] = this.#backups();
    this.#lastAt ??= newest === undefined ? 0 : Date.parse(partsOf(newest).time);
    if (isEnough()) return;
    if (newest === undefined || !this.#isKept(newest, bytes)) {
      this.#write(`config-${stamp(now)}-r${options.revision}.json`, bytes);
      for (const name of this.#backups().slice(BACKUPS_MAX)) removeFile(join(this.#folder, name));
    }
    this.#lastAt = now;
  }

  /**
   * Keeps a text that a person saved and that is nowhere else.
   *
   * @returns its path
   * @throws the system's error
   */
  keepConflict(bytes: Uint8Array): string {
    const kept = this.#names(CONFLICT_NAME);
    const path = this.#write(`conflict-${stamp(Date.now())}-${hashOf(bytes).slice(0, 8)}.json`, bytes);
    for (const name of kept.slice(CONFLICTS_MAX - 1)) removeFile(join(this.#folder, name));
    return path;
  }

  /** Removes what a killed run left half written. */
  clean(): void {
    removeFile(join(this.#folder, TEMP_NAME));
  }

  /** Where it is, for a hint; undefined while nothing is kept. */
  get newest(): string | undefined {
    const [name] = this.#backups();
    return name && join(this.#folder, name);
  }

  #isKept(name: string, bytes: Uint8Array): boolean {
    const file = openSync(join(this.#folder, name), "r");
    try {
      return holdsBytes(file, bytes);
    } finally {
      closeSync(file);
    }
  }

  #write(name: string, bytes: Uint8Array): string {
    const made = mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    if (made !== undefined) syncFolder(dirname(this.#folder));
    const path = join(this.#folder, name);
    const temporary = join(this.#folder, TEMP_NAME);
    removeFile(temporary);
    writeNewFile(temporary, bytes, { mode: 0o600 });
    try {
      renameSync(temporary, path);
      syncFolder(this.#folder);
    } catch (error) {
      removeFile(temporary);
      throw error;
    }
    return path;
  }

  /** Newest first. */
  #backups(): string[] {
    return this.#names(BACKUP_NAME);
  }

  #names(form: RegExp): string[] {
    try {
      const names = readdirSync(this.#folder).filter((name) => form.test(name));
      return names.toSorted((a, b) => (a < b ? 1 : -1));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
      throw error;
    }
  }
}

/** SHA-256, hex. */
export function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

function partsOf(name: string): { readonly time: string; readonly revision: number } {
  const [, time = "", revision = ""] = BACKUP_NAME.exec(name) ?? [];
  return { time: time.replace(/T(\d\d)-(\d\d)-/, "T$1:$2:"), revision: Number(revision) };
}

function stamp(at: number): string {
  return new Date(at).toISOString().replaceAll(":", "-");
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** Values that are secret by their place or name, as they are and as JSON writes them. */
function secretsOf(text: string): Set<string> {
  const found = new Set<string>();
  const visit = (value: unknown, isSecret: boolean): void => {
    if (typeof value === "string") {
      if (isSecret && !value.startsWith("${")) found.add(value).add(JSON.stringify(value).slice(1, -1));
      return;
    }
    if (typeof value !== "object" || value === null) return;
    let isNext = false;
    for (const [key, item] of Object.entries(value)) {
      const holdsSecrets = key === "env" || key === "headers" || isSecretName(key);
      visit(item, isSecret || holdsSecrets || isNext);
      // The argument behind `--token`.
      isNext = Array.isArray(value) && isFlagOfSecret(item);
    }
  };
  try {
    visit(parseJsonc(text).value, false);
  } catch (error) {
    // Text that cannot be read is masked by form alone.
    void messageOf(error);
  }
  return found;
}

function isFlagOfSecret(item: unknown): boolean {
  return typeof item === "string" && /^-+[^=]+$/.test(item) && isSecretName(item.replace(/^-+/, ""));
}
