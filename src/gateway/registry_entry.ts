/**
 * What a registry says of its servers, read with suspicion.
 *
 * Owns the forms such answers have (the official registry's `server.json`, Docker Hub, PulseMCP, plain lists) and how a
 * server is made ready to start from them. Invariants: nothing here throws for whatever stands in an answer, an entry
 * that makes no sense is left out; every text is cut and without control characters; no value carries a `${…}` that
 * would read a secret, and no package name can be taken for a flag. Running the `install_cmd` was rejected: it is text.
 */
import type { JsonObject } from "../core/model.ts";
import { isList, isRecord } from "../state/config_fault.ts";

/** Something a person has to give before the server works. */
export interface RegistryInput {
  readonly kind: "env" | "header" | "argument";
  readonly name: string;
  readonly description?: string;
}

/** A server of a registry, as answers show it. */
export interface RegistryServer {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  /** Id of the registry. */
  readonly registry: string;
  readonly version?: string;
  /** Where it is reached. */
  readonly url?: string;
  readonly protocol?: string;
  /** What starts it; always with `args`. */
  readonly command?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** The command as text, for people. */
  readonly install_cmd?: string;
  readonly repository_url?: string;
  readonly source_code_url?: string;
  readonly updated_at?: string;
  readonly tags?: readonly string[];
  /** What has to be filled in. */
  readonly required_inputs?: readonly RegistryInput[];
}

/** One answer of a registry. */
export interface RegistryPage {
  readonly servers: readonly RegistryServer[];
  /** Where the list goes on: a cursor or an address, by the form. */
  readonly next?: string;
}

/** Whose answer it is. */
export interface EntrySource {
  readonly id: string;
  readonly protocol: string;
}

type Fields = Readonly<Record<string, unknown>>;

const ENTRIES_MAX = 5_000;
const NAME_MAX = 200;
const TEXT_MAX = 1_000;
const URL_MAX = 2_000;
const ITEMS_MAX = 50;
const OFFICIAL_META = "io.modelcontextprotocol.registry/official";
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]+/gu;
/** No package of npm, PyPI or a container registry has another form; the first sign keeps it from being a flag. */
const PACKAGE = /^[@A-Za-z\d][\w.@/:+~-]{0,300}$/;
const VARIABLE = /^[A-Za-z_]\w{0,127}$/;
const HEADER = /^[\w!#$%&'*+.^`|~-]{1,128}$/;
/** Programs whose command line may be taken from `install_cmd`. */
const RUNNERS: ReadonlySet<string> = new Set(["npx", "bunx", "uvx", "uv", "pipx", "docker", "podman", "dnx"]);
const PLAIN_COMMAND = /^[\w@./:=+~ -]+$/;

/** Reads an answer; empty for one that holds no list. */
export function readRegistryPage(answer: unknown, source: EntrySource): RegistryPage {
  const items = itemsOf(answer);
  const seen = new Set<string>();
  const servers: RegistryServer[] = [];
  for (const item of items.slice(0, ENTRIES_MAX)) {
    const server = isRecord(item) ? readEntry(item, source) : undefined;
    if (server === undefined || seen.has(server.id)) continue;
    seen.add(server.id);
    servers.push(server);
  }
  const next = nextOf(answer);
  return { servers, ...(next !== undefined && { next }) };
}

/** The entry of the configuration that a server of a registry makes. */
export function definitionOf(server: RegistryServer, name: string): JsonObject {
  const { description, url, command, args = [], env, headers, protocol, repository_url } = server;
  const common = {
    name,
    ...(description !== "" && { description }),
    ...(repository_url !== undefined && { repository_url }),
  };
  if (command !== undefined)
    return { ...common, protocol: "stdio", command, args: [...args], ...(env && { env: { ...env } }) };
  if (url === undefined) return common;
  return { ...common, protocol: protocol ?? "http", url, ...(headers && { headers: { ...headers } }) };
}

/** A name for the configuration: the last part of the registry's, without what a name may not hold. */
export function localName(name: string): string {
  const last = name.split("/").findLast((part) => part.trim() !== "") ?? name;
  const plain = last.replaceAll(":", "-").replaceAll(/_{2,}/g, "_").trim();
  return Array.from(plain).slice(0, 128).join("");
}

function itemsOf(answer: unknown): readonly unknown[] {
  if (isList(answer)) return answer;
  if (!isRecord(answer)) return [];
  for (const key of ["servers", "data", "results", "items", "apps"]) {
    const value = own(answer, key);
    if (isList(value)) return value;
    if (isRecord(value) && isList(own(value, "servers"))) return own(value, "servers") as readonly unknown[];
  }
  return [];
}

function nextOf(answer: unknown): string | undefined {
  if (!isRecord(answer)) return undefined;
  const metadata = own(answer, "metadata");
  const cursor = isRecord(metadata)
    ? (own(metadata, "nextCursor") ?? own(metadata, "next_cursor"))
    : undefined;
  const next = cursor ?? own(answer, "next");
  return typeof next === "string" && next !== "" && next.length <= URL_MAX ? next : undefined;
}

function readEntry(item: Fields, source: EntrySource): RegistryServer | undefined {
  const inner = own(item, "server");
  const fields = isRecord(inner) ? inner : item;
  if (!isCurrent(item) || !isCurrent(fields)) return undefined;
  const name = textOf(fields, ["name", "title", "id"], NAME_MAX);
  if (name === "") return undefined;
  const repository = own(fields, "repository");
  const code = urlOf(isRecord(repository) ? own(repository, "url") : repository);
  const repositoryUrl = code ?? urlOf(first(fields, ["repository_url", "repositoryUrl", "source_code_url"]));
  const version = textOf(fields, ["version"], NAME_MAX);
  const updated = textOf({ ...fields, ...metaOf(item) }, ["updatedAt", "updated_at", "last_updated"], 64);
  const tags = listOf(own(fields, "tags")).flatMap((tag) => clean(tag, 64) || []);
  return {
    id: textOf(fields, isRecord(inner) ? ["name"] : ["id", "name"], NAME_MAX) || name,
    name,
    description: textOf(fields, ["description", "short_description", "title"], TEXT_MAX),
    registry: source.id,
    ...(version !== "" && { version }),
    ...startOf(fields, source),
    ...(repositoryUrl !== undefined && { repository_url: repositoryUrl, source_code_url: repositoryUrl }),
    ...(updated !== "" && { updated_at: updated }),
    ...(tags.length > 0 && { tags }),
  };
}

/** How it is started or reached: of packages and remotes the first that can be used. */
function startOf(fields: Fields, source: EntrySource): Partial<RegistryServer> {
  const packages = listOf(own(fields, "packages")).filter(isRecord);
  const fromPackage = packages.map((one) => fromPackageOf(one)).find((one) => one !== undefined);
  const remotes = listOf(own(fields, "remotes")).filter(isRecord);
  const fromRemote = remotes
    .toSorted((a, b) => Number(isSse(a)) - Number(isSse(b)))
    .map((one) => fromRemoteOf(one))
    .find((one) => one !== undefined);
  if (fromPackage !== undefined || fromRemote !== undefined) return joined(fromPackage, fromRemote);
  if (source.protocol === "custom/docker") return dockerImage(fields);
  return plainStart(fields, source);
}

function joined(
  packaged: Partial<RegistryServer> | undefined,
  reached: Partial<RegistryServer> | undefined,
): Partial<RegistryServer> {
  // With a package of its own it is started; where else it is reached is told all the same.
  const inputs = (packaged ?? reached)?.required_inputs;
  return { ...reached, ...packaged, ...(inputs !== undefined && { required_inputs: inputs }) };
}

function fromPackageOf(fields: Fields): Partial<RegistryServer> | undefined {
  const kind = textOf(fields, ["registryType", "registry_type", "registry_name"], 40).toLowerCase();
  const id = textOf(fields, ["identifier", "name"], 301);
  const version = textOf(fields, ["version"], 100);
  if (!PACKAGE.test(id)) return undefined;
  const wanted = version !== "" && PACKAGE.test(version) && version !== "latest" ? version : undefined;
  const { env, inputs } = environmentOf(fields);
  const args = argumentsOf(fields);
  const command = runnerOf(kind, { id, version: wanted, env: Object.keys(env) });
  if (command === undefined) return undefined;
  return started(command[0], [...command[1], ...args.values], { env, inputs: [...inputs, ...args.inputs] });
}

function runnerOf(
  kind: string,
  {
    id,
    version,
    env,
  }: { readonly id: string; readonly version: string | undefined; readonly env: readonly string[] },
): readonly [string, readonly string[]] | undefined {
  const at = version === undefined ? id : `${id}@${version}`;
  if (kind === "npm") return ["npx", ["-y", at]];
  if (kind === "pypi") return ["uvx", [at]];
  if (kind === "nuget") return ["dnx", [at, "--yes"]];
  if (kind !== "oci" && kind !== "docker") return undefined;
  const image = version === undefined || /[:@][^/]+$/.test(id) ? id : `${id}:${version}`;
  return ["docker", ["run", "-i", "--rm", ...env.flatMap((name) => ["-e", name]), image]];
}

function dockerImage(fields: Fields): Partial<RegistryServer> {
  const name = textOf(fields, ["name"], NAME_MAX);
  const image = `${textOf(fields, ["namespace"], NAME_MAX) || "mcp"}/${name}`;
  if (!PACKAGE.test(name) || !PACKAGE.test(image)) return {};
  return started("docker", ["run", "-i", "--rm", image], { env: {}, inputs: [] });
}

function started(
  command: string,
  args: readonly string[],
  {
    env,
    inputs,
  }: { readonly env: Readonly<Record<string, string>>; readonly inputs: readonly RegistryInput[] },
): Partial<RegistryServer> {
  return {
    command,
    args,
    install_cmd: [command, ...args].map((part) => (/\s/.test(part) ? JSON.stringify(part) : part)).join(" "),
    ...(Object.keys(env).length > 0 && { env }),
    ...(inputs.length > 0 && { required_inputs: inputs }),
  };
}

/** Variables with a value or a default; a needed one without is taken from the proxy's own environment. */
function environmentOf(fields: Fields) {
  const env: Record<string, string> = {};
  const inputs: RegistryInput[] = [];
  const listed = first(fields, ["environmentVariables", "environment_variables"]);
  for (const variable of listOf(listed).filter(isRecord).slice(0, ITEMS_MAX)) {
    const name = textOf(variable, ["name"], 128);
    if (!VARIABLE.test(name)) continue;
    const value = valueOf(variable);
    if (value !== undefined) env[name] = value;
    else if (isNeeded(variable)) {
      env[name] = `\${env:${name}}`;
      inputs.push(inputOf("env", name, variable));
    }
  }
  return { env, inputs };
}

function argumentsOf(fields: Fields) {
  const values: string[] = [];
  const inputs: RegistryInput[] = [];
  const listed = first(fields, ["packageArguments", "package_arguments"]);
  for (const argument of listOf(listed).filter(isRecord).slice(0, ITEMS_MAX)) {
    const value = valueOf(argument);
    const isNamed = textOf(argument, ["type"], 40) === "named";
    const name = textOf(argument, ["name"], NAME_MAX);
    if (value === undefined && isNeeded(argument)) {
      inputs.push(
        inputOf("argument", name || textOf(argument, ["valueHint", "value_hint"], NAME_MAX), argument),
      );
    } else if (value !== undefined) {
      if (isNamed && /^-{0,2}[\w-]+$/.test(name)) values.push(name.startsWith("-") ? name : `--${name}`);
      values.push(value);
    }
  }
  return { values, inputs };
}

function fromRemoteOf(fields: Fields): Partial<RegistryServer> | undefined {
  const url = urlOf(first(fields, ["url", "url_direct"]));
  if (url === undefined) return undefined;
  const headers: Record<string, string> = {};
  const inputs: RegistryInput[] = [];
  for (const header of listOf(own(fields, "headers")).filter(isRecord).slice(0, ITEMS_MAX)) {
    const name = textOf(header, ["name"], 128);
    const value = valueOf(header);
    if (!HEADER.test(name)) continue;
    if (value !== undefined && !/[{}]/.test(value)) headers[name] = value;
    else if (isNeeded(header) || value !== undefined) inputs.push(inputOf("header", name, header));
  }
  return {
    url,
    protocol: isSse(fields) ? "sse" : "streamable-http",
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(inputs.length > 0 && { required_inputs: inputs }),
  };
}

function isSse(fields: Fields): boolean {
  return textOf(fields, ["type", "transport_type", "transport"], 40).toLowerCase() === "sse";
}

/** A list of the plain kind: a url, a command with arguments, or a line to type. */
function plainStart(fields: Fields, source: EntrySource): Partial<RegistryServer> {
  // There `url` is a page about the server.
  const keys = source.protocol === "custom/pulse" ? [] : ["url", "connect_url", "connectUrl", "endpoint"];
  const url = urlOf(first(fields, keys));
  const line = textOf(fields, ["install_cmd", "installCmd"], TEXT_MAX);
  const command = textOf(fields, ["command"], NAME_MAX);
  const args = listOf(own(fields, "args")).map((arg) => clean(arg, TEXT_MAX));
  const [runner = "", ...words] = line.split(" ").filter((word) => word !== "");
  const nothing = { env: {}, inputs: [] };
  const isSafe = !command.includes("${") && args.every((arg) => !arg.includes("${"));
  if (command !== "" && isSafe && PACKAGE.test(command)) return started(command, args, nothing);
  const isLine = RUNNERS.has(runner) && PLAIN_COMMAND.test(line);
  return {
    ...(isLine ? started(runner, words, nothing) : line !== "" && { install_cmd: line }),
    ...(url !== undefined && { url }),
  };
}

/** Only what is published and the latest of its kind. */
function isCurrent(fields: Fields): boolean {
  const { status, isLatest } = metaOf(fields);
  return status !== "deleted" && status !== "deprecated" && isLatest !== false;
}

function metaOf(fields: Fields): Fields {
  const meta = own(fields, "_meta");
  const official = isRecord(meta) ? own(meta, OFFICIAL_META) : undefined;
  return isRecord(official) ? official : {};
}

function inputOf(kind: RegistryInput["kind"], name: string, fields: Fields): RegistryInput {
  const description = textOf(fields, ["description"], TEXT_MAX);
  return { kind, name, ...(description !== "" && { description }) };
}

function isNeeded(fields: Fields): boolean {
  return first(fields, ["isRequired", "is_required"]) === true;
}

/** A value as given or by default; one with a reference in it would read what the registry has no business with. */
function valueOf(fields: Fields): string | undefined {
  const value = first(fields, ["value", "default"]);
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") return undefined;
  const text = clean(String(value), TEXT_MAX);
  return text === "" || text.includes("${") ? undefined : text;
}

/** An address of the web, whole and without user info; undefined for anything else. */
function urlOf(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length > URL_MAX || /[${}\s]/.test(value)) return undefined;
  const url = URL.parse(value);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) return undefined;
  return url.username !== "" || url.password !== "" ? undefined : value;
}

function first(fields: Fields, keys: readonly string[]): unknown {
  for (const key of keys) {
    const value = own(fields, key);
    if (value !== undefined && value !== null && value !== "") return value;
  }
  return undefined;
}

function textOf(fields: Fields, keys: readonly string[], max: number): string {
  for (const key of keys) {
    const value = own(fields, key);
    const text = typeof value === "string" || typeof value === "number" ? clean(String(value), max) : "";
    if (text !== "") return text;
  }
  return "";
}

function clean(value: unknown, max: number): string {
  if (typeof value !== "string") return "";
  // Cut first: what is behind the cut is not looked at.
  return Array.from(
    value
      .slice(0, max * 4)
      .toWellFormed()
      .replaceAll(UNSEEN, " ")
      .trim(),
  )
    .slice(0, max)
    .join("");
}

function listOf(value: unknown): readonly unknown[] {
  return isList(value) ? value.slice(0, ENTRIES_MAX) : [];
}

/** Only what stands in the answer itself, never what every object has. */
function own(fields: Fields, key: string): unknown {
  return Object.hasOwn(fields, key) ? fields[key] : undefined;
}
