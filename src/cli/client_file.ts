/**
 * The configuration file of an MCP client: one entry of it is ours, the rest is not.
 *
 * Owns reading it, writing the entry in place, keeping a backup beside it, and taking the entry out again. Invariants:
 * what is not the entry stays byte for byte; a file that cannot be read is never written; it is written whole or not at
 * all, through its link, with its mode; an undo gives back the very bytes there were, unless somebody else changed the
 * file since. A note of what was done was rejected: a backup tells the same, and people find it.
 */
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { messageOf, ProxyError } from "../core/errors.ts";
import { removeFile, writeFileAtomic, writeNewFile } from "../lib/atomic_file.ts";
import { formatPath, parseJsonc } from "../lib/jsonc.ts";
import { JsoncText } from "../lib/jsonc_text.ts";
import type { JsoncEdit } from "../lib/jsonc_text.ts";
import { removeTomlTable, setTomlTable } from "../lib/toml_table.ts";
import type { TomlTable } from "../lib/toml_table.ts";
import { removeYamlEntry, setYamlEntry } from "../lib/yaml_entry.ts";
import { resolveLink } from "../state/config_file.ts";
import { REACH_KEYS } from "./clients.ts";
import type { ClientEntry, McpClient } from "./clients.ts";

const NEW_FILE_MODE = 0o600;
/** Clients keep histories in theirs; this is far past any of them. */
const FILE_SIZE_MAX_BYTES = 64 * 1024 * 1024;
const ABSENT = ".absent";
const EMPTY: Readonly<Record<McpClient["format"], string>> = { jsonc: "{}\n", toml: "", yaml: "" };

/** What a change would make of a file. */
export interface FileChange {
  /** Undefined: there is no file. */
  readonly before: string | undefined;
  /** Undefined: the file goes. */
  readonly after: string | undefined;
  /** The backup that is given back, when it is one. */
  readonly restored?: string;
  /** Backups that are of no use afterwards. */
  readonly spent?: readonly string[];
}

/** One client's file, and the entry of one name in it. */
export class ClientFile {
  /** As it is named; it may be a link. */
  readonly path: string;
  /** Undefined: there is none. */
  readonly text: string | undefined;
  /** The entry that is there. */
  readonly entry: ClientEntry | undefined;
  readonly #client: Pick<McpClient, "format" | "key" | "title">;
  readonly #name: string;
  readonly #mode: number;

  /**
   * Reads a file.
   *
   * @throws {ProxyError} `CONFIG_UNREADABLE` or `CONFIG_INVALID`, with what is wrong in it.
   */
  constructor(
    path: string,
    of: { readonly client: Pick<McpClient, "format" | "key" | "title">; readonly name: string },
  ) {
    this.path = path;
    this.#client = of.client;
    this.#name = of.name;
    const read = readText(path);
    this.text = read?.text;
    this.#mode = read?.mode ?? NEW_FILE_MODE;
    this.entry = this.text === undefined ? undefined : this.#entryOf(this.text);
  }

  /** Whether others may read the file. */
  get isShared(): boolean {
    return process.platform !== "win32" && (this.#mode & 0o077) !== 0;
  }

  /** Permission bits. */
  get mode(): number {
    return this.#mode;
  }

  /** Whether the entry already leads where `wanted` does. */
  leadsTo(wanted: ClientEntry): boolean {
    const { entry } = this;
    if (entry === undefined) return false;
    const keys = new Set([
      ...Object.keys(wanted),
      ...Object.keys(entry).filter((key) => REACH_KEYS.has(key)),
    ]);
    return [...keys].every((key) => Bun.deepEquals(entry[key], wanted[key]));
  }

  /** Whether the entry is what an earlier run of ours left. */
  get isOwn(): boolean {
    return this.#explained().length > 0;
  }

  /** What writing `wanted` would make of the file. */
  connect(wanted: ClientEntry): FileChange {
    return { before: this.text, after: this.#edited(() => this.#with(this.text, wanted)) };
  }

  /** What taking the entry out would make of the file: the oldest backup that differs in nothing else, or an edit. */
  disconnect(): FileChange {
    const { text } = this;
    if (text === undefined || this.entry === undefined) return { before: text, after: text };
    const explained = this.#explained();
    const [oldest] = explained;
    if (oldest !== undefined) {
      return { before: text, after: readBackup(oldest), restored: oldest, spent: explained };
    }
    return { before: text, after: this.#edited(() => this.#without(text)) };
  }

  /**
   * Makes a change so.
   *
   * @returns the path of the backup that was made, if one was
   * @throws {ProxyError} `CONFIG_CONFLICT` when somebody saved the file meanwhile, `CONFIG_UNWRITABLE`.
   */
  apply({ before, after, restored, spent = [] }: FileChange): string | undefined {
    if (readText(this.path)?.text !== before) {
      throw new ProxyError(
        "CONFIG_CONFLICT",
        `Cannot write '${this.path}': it was saved by somebody else meanwhile`,
        {
          hint: "Run the command again",
        },
      );
    }
    try {
      const real = resolveLink(this.path);
      if (before === undefined) mkdirSync(dirname(this.path), { recursive: true });
      const backup = restored === undefined ? this.#keep(before) : undefined;
      if (after === undefined) removeFile(real);
      else writeFileAtomic(real, after, { mode: this.#mode });
      for (const path of spent) removeFile(path);
      return before === undefined ? undefined : backup;
    } catch (error) {
      throw new ProxyError("CONFIG_UNWRITABLE", `Cannot write '${this.path}': ${messageOf(error)}`, {
        cause: error,
        hint: "See who may write the file and its folder",
      });
    }
  }

  /** An empty backup of a special name says that there was no file. */
  #keep(text: string | undefined): string {
    const stamp = new Date().toISOString().replaceAll(/[-:]/g, "").replace("T", "-").replace("Z", "");
    const path = `${this.path}.mcpproxy-${stamp}${text === undefined ? ABSENT : ""}.bak`;
    writeNewFile(path, Buffer.from(text ?? ""), { mode: this.#mode });
    return path;
  }

  /** Our backups, the oldest first. */
  #backups(): string[] {
    const prefix = `${basename(this.path)}.mcpproxy-`;
    const folder = dirname(this.path);
    try {
      const names = readdirSync(folder).filter((name) => name.startsWith(prefix) && name.endsWith(".bak"));
      return names.toSorted().map((name) => join(folder, name));
    } catch {
      return [];
    }
  }

  /** Backups that become the file of now when the entry of now is written into them, the oldest first. */
  #explained(): string[] {
    return this.entry === undefined ? [] : this.#backups().filter((path) => this.#explains(readBackup(path)));
  }

  #explains(text: string | undefined): boolean {
    try {
      return this.entry !== undefined && this.#with(text, this.entry) === this.text;
    } catch {
      return false;
    }
  }

  #with(text: string | undefined, entry: ClientEntry): string {
    const { format, key } = this.#client;
    const base = text === undefined || text.trim() === "" ? EMPTY[format] : text;
    const path = [key, this.#name] as const;
    if (format === "toml") return setTomlTable(base, path, entry as TomlTable);
    if (format === "yaml") return setYamlEntry(base, path, entry);
    return new JsoncText(base).edit(this.#edits(base, entry));
  }

  /** Keys of the user in the entry, such as a list of allowed tools, stay. */
  #edits(text: string, wanted: ClientEntry): JsoncEdit[] {
    const path = [this.#client.key, this.#name];
    const now = this.#entryOf(text);
    if (now === undefined) return [{ kind: "set", path, value: wanted }];
    const stale = Object.keys(now).filter((key) => REACH_KEYS.has(key) && !Object.hasOwn(wanted, key));
    return [
      ...stale.map((key): JsoncEdit => ({ kind: "remove", path: [...path, key] })),
      ...Object.entries(wanted).map(([key, value]): JsoncEdit => ({
        kind: "set",
        path: [...path, key],
        value,
      })),
    ];
  }

  #without(text: string): string {
    const { format, key } = this.#client;
    const path = [key, this.#name] as const;
    if (format === "toml") return removeTomlTable(text, path);
    if (format === "yaml") return removeYamlEntry(text, path);
    return new JsoncText(text).edit([{ kind: "remove", path }]);
  }

  #entryOf(text: string): ClientEntry | undefined {
    const { key } = this.#client;
    const document = this.#parse(text);
    if (document === undefined || document === null) return undefined;
    const entries = isRecord(document) ? (document[key] ?? {}) : undefined;
    if (!isRecord(entries)) throw this.#fault(`expected an object with an object '${key}' in it`);
    const entry = Object.hasOwn(entries, this.#name) ? entries[this.#name] : undefined;
    if (entry !== undefined && !isRecord(entry))
      throw this.#fault(`'${formatPath([key, this.#name])}' is no object`);
    return entry;
  }

  #parse(text: string): unknown {
    const { format } = this.#client;
    if (text.trim() === "") return undefined;
    if (format === "jsonc") {
      const { value, faults } = parseJsonc(text);
      const [fault] = faults;
      if (fault === undefined) return value;
      throw this.#fault(`line ${fault.line}, column ${fault.column}: ${fault.message}`);
    }
    try {
      return format === "toml" ? Bun.TOML.parse(text.replace(/^\uFEFF/, "")) : Bun.YAML.parse(text);
    } catch (error) {
      throw this.#fault(messageOf(error));
    }
  }

  #fault(detail: string): ProxyError {
    return new ProxyError("CONFIG_INVALID", `Cannot use '${this.path}': ${detail}`, {
      hint: `Mend the file as ${this.#client.title} wants it; nothing was written`,
    });
  }

  #edited(edit: () => string): string {
    try {
      return edit();
    } catch (error) {
      throw this.#fault(messageOf(error));
    }
  }
}

/** Undefined: there was no file. */
function readBackup(path: string): string | undefined {
  return path.endsWith(`${ABSENT}.bak`) ? undefined : readText(path)?.text;
}

function readText(path: string): { readonly text: string; readonly mode: number } | undefined {
  try {
    const { mode, size } = statSync(path);
    if (size > FILE_SIZE_MAX_BYTES) throw new Error(`it has more than ${FILE_SIZE_MAX_BYTES} bytes`);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
    return { text, mode: mode & 0o777 };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new ProxyError("CONFIG_UNREADABLE", `Cannot read '${path}': ${messageOf(error)}`, { cause: error });
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
