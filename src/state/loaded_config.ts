/**
 * A configuration together with the text it was read from.
 *
 * Owns what is kept beside a text so that the next change is cheap: where its values stand, which entry is which server.
 * Invariant: text and configuration say the same, but for the places of faults after a plan, which `warm()` puts right.
 * Making the offsets with the text was rejected: nobody needs them until the next change, and the reply would wait.
 */
import { JsoncText } from "../lib/jsonc_text.ts";
import { parseConfig } from "./config.ts";
import { decodeConfig, findConfigFile, readConfigBytes } from "./config_file.ts";
import { isList, isRecord } from "./config_fault.ts";
import { serverNameOf } from "./config_server.ts";
import type { Server } from "../core/model.ts";
import type { Config } from "../core/settings.ts";
import type { LoadOptions, ParseOptions } from "./config.ts";

/** An entry of `mcpServers` that is a server. */
export interface FileEntry {
  /** Its key or index. */
  readonly step: string | number;
  readonly value: unknown;
  readonly server: Server;
}

/** What a {@link LoadedConfig} is made of. */
export interface LoadedParts {
  readonly config: Config;
  /** How the text was read, to read the next one alike. */
  readonly options: ParseOptions;
  /** Whether faults and findings name places of an older text. @default false */
  readonly isStale?: boolean;
  /** Whether the text is known to be JSON without comments. @default not looked at */
  readonly isPlain?: boolean;
}

/** A text and what it means. */
export class LoadedConfig {
  readonly text: string;
  readonly options: ParseOptions;
  #config: Config;
  #isStale: boolean;
  #isPlain: boolean | undefined;
  #jsonc: JsoncText | undefined;
  #entries: ReadonlyMap<string, FileEntry> | undefined;

  constructor(text: string, { config, options, isStale = false, isPlain }: LoadedParts) {
    this.text = text;
    this.#isPlain = isPlain;
    this.options = options;
    this.#config = config;
    this.#isStale = isStale;
  }

  /**
   * Reads a text.
   *
   * @throws {ProxyError} as `parseConfig` does
   */
  static parse(text: string, options: ParseOptions): LoadedConfig {
    return new LoadedConfig(text, { config: parseConfig(text, options), options });
  }

  /**
   * Finds, reads and validates the configuration.
   *
   * @throws {ProxyError} as `loadConfig` does
   */
  static async read(options: LoadOptions): Promise<LoadedConfig> {
    const path = findConfigFile(options);
    return LoadedConfig.parse(decodeConfig(path, readConfigBytes(path)), { ...options, path });
  }

  /** What the text means. */
  get config(): Config {
    return this.#config;
  }

  /** Whether faults and findings may name places of an older text. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Whether the text is known to be JSON without comments, which is read in two thirds of the time. */
  get isPlain(): boolean {
    return this.#isPlain === true;
  }

  /** The text with its places; made once. */
  jsonc(): JsoncText {
    this.#jsonc ??= new JsoncText(this.text);
    return this.#jsonc;
  }

  /** Whether `mcpServers` is an object of servers by name. */
  get isMap(): boolean {
    return isRecord(this.#rawServers());
  }

  /** The entries by the names of their servers; of two with one name the first. */
  entries(): ReadonlyMap<string, FileEntry> {
    this.#entries ??= this.#readEntries();
    return this.#entries;
  }

  /** Does ahead what the next change needs, and puts places right; for idle time. */
  warm(): void {
    this.entries();
    this.jsonc().warm();
    this.#isPlain ??= isPlainJson(this.text);
    if (!this.#isStale) return;
    this.#config = parseConfig(this.text, this.options);
    this.#isStale = false;
    this.#entries = undefined;
  }

  #rawServers(): unknown {
    const { value } = this.jsonc();
    return isRecord(value) && Object.hasOwn(value, "mcpServers") ? value["mcpServers"] : undefined;
  }

  #readEntries(): ReadonlyMap<string, FileEntry> {
    const raw = this.#rawServers();
    const servers = new Map(this.#config.servers.map((server) => [server.name, server]));
    const entries = new Map<string, FileEntry>();
    const add = (step: string | number, value: unknown, name: string): void => {
      const server = servers.get(name);
      if (server !== undefined && !entries.has(name)) entries.set(name, { step, value, server });
    };
    if (isList(raw)) {
      for (const [index, value] of raw.entries()) add(index, value, serverNameOf({ value, index }).name);
    } else if (isRecord(raw)) {
      for (const [index, [key, value]] of Object.entries(raw).entries())
        add(key, value, serverNameOf({ value, index, key }).name);
    }
    return entries;
  }
}

function isPlainJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
