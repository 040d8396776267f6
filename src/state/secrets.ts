/**
 * Secrets of the configuration: references to them resolved at use, and what is shown instead.
 *
 * Owns `${env:NAME}` and `${keyring:NAME}`, and which fields of a server are secret by place. Invariants: a
 * resolved value is returned to the caller and nowhere kept, no error quotes one, and a masked server still
 * shows its references. Resolving at load was rejected: the values would lie in every snapshot, diff and
 * event of the configuration.
 */
import { ProxyError } from "../core/errors.ts";
import { redactArgs, redactData, redactUrl, redactValue } from "../lib/redact.ts";
import type { Server } from "../core/model.ts";

/** Environment variables as the process has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Options of {@link resolveSecrets}. */
export interface ResolveOptions {
  /** The configuration key the text stands under, for the error message. */
  readonly key?: string;
  /** Values of `${keyring:NAME}`, read ahead by `keyring.ts`. @default none */
  readonly keys?: ReadonlyMap<string, string> | undefined;
}

/** What a server is started or reached with, all references resolved; never to be shown or stored. */
export interface ResolvedServer {
  readonly url?: string;
  readonly args: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  readonly headers: ReadonlyMap<string, string>;
  /** The values that references stood for, to be hidden from what the server prints. */
  readonly secrets: ReadonlySet<string>;
}

const REFERENCE = /\$\{(env|keyring):([^{}]*)\}/g;

/** References that stand for places, not for secrets: hiding them would hide every path. */
const PLAIN_REFERENCES = new Set(
  ["HOME", "PWD", "TMPDIR", "USER", "LOGNAME", "PATH", "SHELL", "LANG"].map((name) => `env:${name}`),
);

/** Keys of a document whose members are secret whatever they are called. */
const SECRET_MAPS = new Set(["env", "headers", "custom_vars", "customVars"]);

/**
 * Puts the values of `${env:NAME}` and `${keyring:NAME}` in the place of the references; other text stays as it is.
 *
 * A resolved value is not searched for references again.
 * @throws ProxyError `SECRET_MISSING` naming the variable and the key
 */
export function resolveSecrets(text: string, env: Environment, options: ResolveOptions = {}): string {
  if (!text.includes("${")) return text;
  return text.replace(REFERENCE, (_, kind: string, name: string) => lookUp({ kind, name }, env, options));
}

/** Names the references in a text, as in `env:GITHUB_TOKEN`, each once. */
export function secretReferences(text: string): string[] {
  return [...new Set([...text.matchAll(REFERENCE)].map(([, kind, name]) => `${kind}:${name}`))];
}

/**
 * Resolves all that a server is started or reached with.
 *
 * @throws ProxyError `SECRET_MISSING` for the first reference that has no value
 */
export function resolveServer(
  server: Server,
  env: Environment,
  { keys }: Pick<ResolveOptions, "keys"> = {},
): ResolvedServer {
  const secrets = new Set<string>();
  const resolve = (text: string, key: string): string => {
    const at = `${server.name}: ${key}`;
    for (const reference of secretReferences(text)) {
      if (!PLAIN_REFERENCES.has(reference))
        secrets.add(resolveSecrets(`\${${reference}}`, env, { key: at, keys }));
    }
    return resolveSecrets(text, env, { key: at, keys });
  };
  const resolveMap = (map: ReadonlyMap<string, string>, key: string): ReadonlyMap<string, string> =>
    new Map([...map].map(([name, value]) => [name, resolve(value, `${key}.${name}`)]));
  return {
    ...(server.url !== undefined && { url: resolve(server.url, "url") }),
    args: server.args.map((arg, index) => resolve(arg, `args[${index}]`)),
    env: resolveMap(server.env, "env"),
    headers: resolveMap(server.headers, "headers"),
    secrets,
  };
}

/**
 * Copies any data for logs, events and API answers with secrets hidden: every value of `env`, `headers` and
 * `custom_vars`, secrets in `url` and `args`, and whatever is secret by name or by form.
 */
export function maskSecrets(value: unknown): unknown {
  return maskAt("", value, 0);
}

function maskAt(key: string, value: unknown, depth: number): unknown {
  if (depth > 100) return redactData(value, depth);
  if (SECRET_MAPS.has(key) && typeof value === "object" && value !== null) return maskMap(value);
  if (key === "args" && Array.isArray(value)) return maskArgs(value);
  if (typeof value === "string") return key === "url" ? redactUrl(value) : redactMember(key, value);
  if (Array.isArray(value)) return value.map((item) => maskAt("", item, depth + 1));
  if (typeof value !== "object" || value === null) return redactMember(key, value);
  const entries: Iterable<readonly [unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
  return Object.fromEntries(
    [...entries].map(([name, item]) => [String(name), maskAt(String(name), item, depth + 1)]),
  );
}

/** Masks one scalar as the member it is, so that its name counts. */
function redactMember(key: string, value: unknown): unknown {
  const masked = redactData(Object.fromEntries([[key, value]]));
  return Object.values(masked as object)[0];
}

function maskMap(value: object): unknown {
  if (Array.isArray(value))
    return value.map((item) => (typeof item === "string" ? maskAssignment(item) : redactData(item)));
  const entries: Iterable<readonly [unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
  return Object.fromEntries(
    [...entries].map(([name, item]) => [
      String(name),
      redactValue(typeof item === "string" ? item : (JSON.stringify(item) ?? "")),
    ]),
  );
}

/** `NAME=value`, the form of environment lists. */
function maskAssignment(text: string): string {
  const at = text.indexOf("=");
  return at < 0 ? redactValue(text) : `${text.slice(0, at)}=${redactValue(text.slice(at + 1))}`;
}

function maskArgs(args: readonly unknown[]): unknown[] {
  const isText = args.every((arg) => typeof arg === "string");
  return isText ? redactArgs(args) : args.map((arg) => redactData(arg));
}

function lookUp(
  { kind, name }: { readonly kind: string; readonly name: string },
  env: Environment,
  { key, keys }: ResolveOptions,
): string {
  const isKept = kind === "keyring";
  const value = isKept ? keys?.get(name) : Object.hasOwn(env, name) ? env[name] : undefined;
  if (value !== undefined) return value;
  const where = key === undefined ? "" : ` for '${key}'`;
  const why = isKept ? "the keyring has no entry of this name" : "the variable is not set";
  throw new ProxyError("SECRET_MISSING", `Cannot resolve '\${${kind}:${name}}'${where}: ${why}`, {
    data: { kind, name, ...(key !== undefined && { key }) },
    hint: isKept
      ? `Run 'mcpproxy secrets set ${name}' and give the value on stdin`
      : `Set the environment variable ${name} before the proxy starts`,
  });
}
