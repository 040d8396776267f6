/**
 * The configurations of MCP clients, each in its own form.
 *
 * Owns how a text is read (JSON with comments, YAML, TOML), whose it is, and what an entry there is called here. Invariants:
 * pure; whatever stands in a text ends in a list or in one clear error; a reference of the client (`${VAR}`, `${input:x}`)
 * becomes one of ours, and no other text is taken over as one; what has no counterpart is told. A parser a client was
 * rejected: they differ in a few words.
 */
import { basename } from "node:path";

import { ProxyError } from "../core/errors.ts";
import { IMPORT_FORMATS } from "../core/model.ts";
import type { ImportFormat } from "../core/model.ts";
import { parseJsonc } from "../lib/jsonc.ts";
import { isList, isRecord } from "../state/config_fault.ts";

/** A value a person has to provide, since the client asked for it or kept it elsewhere. */
export interface Placeholder {
  /** The variable that is looked up instead. */
  readonly name: string;
  readonly description?: string;
}

/** An entry of a client, in our words. */
export interface ForeignServer {
  /** As the client has it. */
  readonly name: string;
  /** What would stand in our file, without the name; absent when it cannot be taken over. */
  readonly entry?: Fields;
  /** Why not. */
  readonly reason?: string;
  /** The folder it belongs to, when it belongs to one. */
  readonly project?: string;
  readonly placeholders: readonly Placeholder[];
  /** What was left out. */
  readonly warnings: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

/** Where the servers stand in a text of a client. */
interface Found {
  readonly name: string;
  readonly value: unknown;
  readonly project?: string;
}

const REFERENCE = /\$\{([^{}]*)\}/g;
const VARIABLE = /^[A-Za-z_]\w*$/;
/** Of the Go proxy's file: what it noted, and what it decided on. */
const NOT_OURS: ReadonlySet<string> = new Set([
  "name",
  "quarantined",
  "auto_disabled",
  "auto_disable_reason",
  "startup_mode",
  "created",
  "updated",
  "ever_connected",
  "last_successful_connection",
  "tool_count",
  "group_id",
  "groups",
]);

/**
 * Reads the servers of a client's configuration.
 *
 * @throws {ProxyError} `USAGE` when the text is none, or holds no servers in the form.
 */
export function readForeign(
  text: string,
  asked: ImportFormat | "auto",
): { readonly format: ImportFormat; readonly servers: readonly ForeignServer[] } {
  const value = readText(text, asked);
  if (!isRecord(value)) throw unusable("it is no object", "Give the whole configuration file of the client");
  const format = asked === "auto" ? formatOf(value) : asked;
  const found = format === undefined ? undefined : serversIn(value, format);
  if (format === undefined || found === undefined) {
    throw unusable("no servers stand in it", `Name the form: ${IMPORT_FORMATS.join(", ")}`);
  }
  const inputs = inputsIn(value);
  return { format, servers: found.map((one) => readEntry(one, { format, inputs })) };
}

function readText(text: string, asked: ImportFormat | "auto"): unknown {
  const source = text.replace(/^\uFEFF/, "");
  const kind =
    asked === "codex" ? "TOML" : asked === "goose" ? "YAML" : asked === "auto" ? kindOf(source) : "JSON";
  try {
    if (kind === "TOML") return Bun.TOML.parse(source);
    if (kind === "YAML") return Bun.YAML.parse(source);
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 200) : "";
    throw unusable(`it is no ${kind}${why === "" ? "" : `: ${why}`}`, "Name the form if it is another one");
  }
  const { value, faults } = parseJsonc(source);
  const [fault] = faults;
  if (fault !== undefined)
    throw unusable(`line ${fault.line}, column ${fault.column}: ${fault.message}`, fault.advice);
  return value;
}

function kindOf(source: string): "JSON" | "TOML" | "YAML" {
  if (/^\s*(?:\{|\/[/*])/.test(source)) return "JSON";
  return /^\s*(?:\[[\w".-]+\]|[\w".-]+\s*=)/m.test(source) ? "TOML" : "YAML";
}

function formatOf(value: Fields): ImportFormat | undefined {
  if (isRecord(value["context_servers"])) return "zed";
  if (isRecord(value["mcp_servers"])) return "codex";
  if (isRecord(value["servers"])) return "vscode";
  if (isRecord(value["mcp"]) && isRecord(value["mcp"]["servers"])) return "vscode";
  if (isRecord(value["extensions"])) return "goose";
  if (isList(value["mcpServers"])) return "mcpproxy";
  if (isRecord(value["projects"])) return "claude_code";
  const servers = value["mcpServers"];
  if (isRecord(servers)) {
    const has = (key: string): boolean =>
      Object.values(servers).some((one) => isRecord(one) && Object.hasOwn(one, key));
    if (has("serverUrl")) return "windsurf";
    return has("httpUrl") ? "gemini" : "claude_desktop";
  }
  const isBare = Object.values(value).some(
    (one) => isRecord(one) && (isText(one["command"]) || isText(one["url"])),
  );
  return isBare ? "claude_desktop" : undefined;
}

function serversIn(value: Fields, format: ImportFormat): Found[] | undefined {
  const mcp = isRecord(value["mcp"]) ? value["mcp"] : {};
  if (format === "zed") return named(value["context_servers"]);
  if (format === "codex") return named(value["mcp_servers"]);
  if (format === "goose") return named(value["extensions"]);
  if (format === "vscode") return named(value["servers"] ?? mcp["servers"] ?? value["mcpServers"]);
  if (format === "mcpproxy" && isList(value["mcpServers"])) {
    return value["mcpServers"].map((one, index) => {
      const name = isRecord(one) && isText(one["name"]) ? one["name"] : `mcpServers[${index}]`;
      return { name, value: one };
    });
  }
  if (format !== "claude_code") {
    const isBare = !Object.hasOwn(value, "mcpServers") && formatOf(value) !== undefined;
    return named(isBare ? value : value["mcpServers"]);
  }
  const projects = isRecord(value["projects"]) ? Object.entries(value["projects"]) : [];
  const own = named(value["mcpServers"]);
  const below = projects.flatMap(([project, one]) =>
    (isRecord(one) ? (named(one["mcpServers"]) ?? []) : []).map((server) => ({ ...server, project })),
  );
  return own === undefined && projects.length === 0 ? undefined : [...(own ?? []), ...below];
}

function named(value: unknown): Found[] | undefined {
  return isRecord(value) ? Object.entries(value).map(([name, one]) => ({ name, value: one })) : undefined;
}

/** What VS Code asks for at the first start. */
function inputsIn(value: Fields): ReadonlyMap<string, string> {
  const mcp = isRecord(value["mcp"]) ? value["mcp"] : {};
  const listed = value["inputs"] ?? mcp["inputs"];
  return new Map(
    (isList(listed) ? listed : []).flatMap((input) =>
      isRecord(input) && isText(input["id"])
        ? [[input["id"], isText(input["description"]) ? input["description"].slice(0, 200) : ""] as const]
        : [],
    ),
  );
}

interface EntryContext {
  readonly format: ImportFormat;
  readonly inputs: ReadonlyMap<string, string>;
}

function readEntry({ name, value, project }: Found, { format, inputs }: EntryContext): ForeignServer {
  const reader = new EntryReader(format, inputs);
  const result = isRecord(value) ? reader.read(value, project) : { reason: "the entry is no object" };
  const { placeholders, warnings } = reader;
  return {
    name,
    ...result,
    ...(project !== undefined && { project }),
    placeholders: [...placeholders].map(([variable, description]) => ({
      name: variable,
      ...(description !== "" && { description }),
    })),
    warnings,
  };
}

/** Reads one entry, and notes what a person has to know of it. */
class EntryReader {
  readonly placeholders = new Map<string, string>();
  readonly warnings: string[] = [];
  readonly #format: ImportFormat;
  readonly #inputs: ReadonlyMap<string, string>;

  constructor(format: ImportFormat, inputs: ReadonlyMap<string, string>) {
    this.#format = format;
    this.#inputs = inputs;
  }

  read(value: Fields, project: string | undefined): { readonly entry: Fields } | { readonly reason: string } {
    if (this.#format === "mcpproxy") {
      const kept = Object.entries(value).filter(([key]) => !NOT_OURS.has(key));
      return { entry: Object.fromEntries(kept) };
    }
    const inside = isRecord(value["command"]) ? value["command"] : {};
    const type = textOf(value["type"] ?? value["transport"] ?? value["transportType"]);
    if (type === "builtin" || type === "platform" || type === "frontend" || type === "inline_python")
      return { reason: `it is part of the client itself (${type})` };
    const command = textOf(inside["path"] ?? inside["command"] ?? value["command"] ?? value["cmd"]);
    const url = textOf(value["httpUrl"] ?? value["serverUrl"] ?? value["url"] ?? value["uri"]);
    if (command === "" && url === "") {
      const isExtension =
        this.#format === "zed" && (value["source"] === "extension" || isRecord(value["settings"]));
      return {
        reason: isExtension
          ? "it is an extension of Zed, which starts it itself"
          : "it has neither a command nor a url",
      };
    }
    const common = {
      ...(isText(value["description"]) && { description: value["description"] }),
      ...this.#limits(value),
      ...((value["disabled"] === true || value["enabled"] === false) && { enabled: false }),
    };
    if (command !== "")
      return { entry: { ...this.#started({ ...value, ...inside }, { command, project }), ...common } };
    return { entry: { ...this.#reached(value, { url, type }), ...common } };
  }

  #started(
    value: Fields,
    { command, project }: { readonly command: string; readonly project: string | undefined },
  ): Fields {
    const env = this.#map(value["env"] ?? value["envs"] ?? value["environment"]);
    for (const key of texts([...listOf(value["env_keys"]), ...listOf(value["env_vars"])])) {
      if (!VARIABLE.test(key) || Object.hasOwn(env, key)) continue;
      env[key] = `\${env:${key}}`;
      this.placeholders.set(key, "");
    }
    if (isText(value["envFile"])) this.warnings.push(`'envFile' is not read: put its variables into 'env'`);
    const folder = textOf(value["cwd"]) || (project ?? "");
    return {
      protocol: "stdio",
      command: this.#textOf(command),
      args: texts(value["args"]).map((arg) => this.#textOf(arg)),
      ...(Object.keys(env).length > 0 && { env }),
      ...(folder !== "" && { working_dir: this.#textOf(folder) }),
    };
  }

  #reached(value: Fields, { url, type }: { readonly url: string; readonly type: string }): Fields {
    const headers = this.#map(value["headers"] ?? value["http_headers"]);
    const bearer = textOf(value["bearer_token_env_var"]);
    if (VARIABLE.test(bearer)) {
      headers["Authorization"] = `Bearer \${env:${bearer}}`;
      this.placeholders.set(bearer, "");
    }
    const fromEnv = isRecord(value["env_http_headers"]) ? Object.entries(value["env_http_headers"]) : [];
    for (const [header, variable] of fromEnv) {
      if (!isText(variable) || !VARIABLE.test(variable)) continue;
      headers[header] = `\${env:${variable}}`;
      this.placeholders.set(variable, "");
    }
    const isSse =
      type === "sse" || (this.#format === "gemini" && isText(value["url"]) && !isText(value["httpUrl"]));
    return {
      protocol: isSse ? "sse" : type === "" && !isText(value["httpUrl"]) ? "auto" : "http",
      url: this.#textOf(url),
      ...(Object.keys(headers).length > 0 && { headers }),
    };
  }

  /** Deadlines and the choice of tools, where the client has them. */
  #limits(value: Fields): Fields {
    const seconds = value["tool_timeout_sec"] ?? (this.#format === "goose" ? value["timeout"] : undefined);
    const ms = this.#format === "gemini" ? value["timeout"] : undefined;
    const callMs = isAmount(ms) ? ms : isAmount(seconds) ? seconds * 1_000 : undefined;
    const start = value["startup_timeout_sec"];
    const only = texts(value["enabled_tools"] ?? value["includeTools"] ?? value["available_tools"]);
    const never = texts(value["disabled_tools"] ?? value["excludeTools"]);
    return {
      ...(callMs !== undefined && { call_timeout: `${Math.ceil(callMs)}ms` }),
      ...(isAmount(start) && { connection_timeout: `${Math.ceil(start * 1_000)}ms` }),
      ...(only.length > 0 && { enabled_tools: only }),
      ...(never.length > 0 && { disabled_tools: never }),
    };
  }

  #map(value: unknown): Record<string, string> {
    const entries = isRecord(value) ? Object.entries(value) : [];
    const pairs = entries.flatMap(([key, item]): [string, string][] =>
      isText(item) || typeof item === "number" || typeof item === "boolean"
        ? [[key, this.#textOf(String(item))]]
        : [],
    );
    return Object.fromEntries(pairs);
  }

  /** Our references in the place of theirs. */
  #textOf(value: string): string {
    const dollars = this.#format === "gemini" ? value.replaceAll(/\$([A-Za-z_]\w*)/g, "${$1}") : value;
    return dollars.replaceAll(REFERENCE, (whole, inner: string) => this.#reference(whole, inner));
  }

  #reference(whole: string, inner: string): string {
    const [, kind = "", rest = ""] = /^(env|input|keyring):(.*)$/s.exec(inner) ?? [];
    if (kind === "env" || kind === "keyring") return whole;
    if (kind === "input") {
      const variable = rest
        .toUpperCase()
        .replaceAll(/\W+/g, "_")
        .replace(/^(?=\d)/, "_");
      this.placeholders.set(variable, this.#inputs.get(rest) ?? "");
      return `\${env:${variable}}`;
    }
    if (inner === "userHome") return "~";
    const [, variable = "", otherwise] = /^([A-Za-z_]\w*)(?::-(.*))?$/s.exec(inner) ?? [];
    const isPlace = /^(?:workspaceFolder|workspaceRoot|pathSeparator|file)/.test(inner);
    if (variable === "" || isPlace) {
      this.warnings.push(`'${whole}' is known to the client only: write what it stands for`);
      return whole;
    }
    if (otherwise !== undefined) this.warnings.push(`'${whole}' has no default here: set ${variable}`);
    this.placeholders.set(variable, "");
    return `\${env:${variable}}`;
  }
}

/** The last part of a folder's path, to tell servers of several folders apart. */
export function folderName(path: string): string {
  return basename(path.replaceAll("\\", "/")) || "project";
}

function unusable(why: string, hint: string): ProxyError {
  return new ProxyError("USAGE", `Cannot read the servers of this text: ${why}`, { hint });
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function textOf(value: unknown): string {
  return isText(value) ? value.trim() : "";
}

function isAmount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0 && value < 1e9;
}

function listOf(value: unknown): readonly unknown[] {
  return isList(value) ? value : [];
}

function texts(value: unknown): string[] {
  return listOf(value).flatMap((item) => (isText(item) || typeof item === "number" ? [String(item)] : []));
}
