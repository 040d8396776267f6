/**
 * `mcpproxy secrets`: what `${keyring:NAME}` stands for, in the keyring of the system.
 *
 * Owns these commands. Invariants: a value comes by stdin only, so that no list of processes and no history holds it; it is
 * printed only where it is asked for by name and `--show`; no daemon is needed. Keeping them in a file of our own was
 * rejected: the system has a place for them.
 */
import { ProxyError } from "../core/errors.ts";
import { loadConfig } from "../state/config.ts";
import { keyringNames, SYSTEM_KEYRING } from "../state/keyring.ts";
import type { Keyring } from "../state/keyring.ts";
import { readWords, runVerb } from "./help.ts";
import { cleanText, printData } from "./output.ts";
import type { ServeIo } from "./serve.ts";
import { formatTable } from "./table.ts";

/** The process as these commands see it. */
export interface SecretsIo extends ServeIo {
  /** @default that of the system */
  readonly keyring?: Keyring;
}

/** As long as any keyring takes it. */
const MAX_VALUE_CHARS = 64 * 1024;
const NAME = /^[^\s{}:][^{}\p{Cc}]{0,199}$/u;

/** Runs a verb of `secrets`. */
export function runSecrets(args: readonly string[], io: SecretsIo): Promise<number> {
  return runVerb("secrets", {
    args,
    io,
    verbs: {
      set: (rest) => setSecret(rest, io),
      get: (rest) => getSecret(rest, io),
      list: (rest) => listSecrets(rest, io),
      delete: (rest) => deleteSecret(rest, io),
    },
  });
}

async function setSecret(args: readonly string[], io: SecretsIo): Promise<number> {
  const { flags, positionals } = readWords("secrets set", args);
  const name = nameOf(positionals);
  if (io.ask !== undefined) io.stderr("Type the value, then end the input (Ctrl-D)\n");
  const value = (await readAll(io.stdin())).replace(/\r?\n$/, "");
  if (value === "") {
    throw new ProxyError("USAGE", `Cannot set '${name}': no value came on stdin`, {
      hint: `Run: printf %s "$VALUE" | mcpproxy secrets set ${name}`,
    });
  }
  await keyringOf(io).set(name, value);
  if (flags.isJson) printData({ name, is_set: true }, flags, io);
  else io.stdout(cleanText(`Set '${name}'; write \${keyring:${name}} where the value is needed\n`));
  return 0;
}

async function getSecret(args: readonly string[], io: SecretsIo): Promise<number> {
  const { flags, positionals, values } = readWords("secrets get", args);
  const name = nameOf(positionals);
  const value = await keyringOf(io).get(name);
  const isShown = values["show"] === true && value !== undefined;
  if (flags.isJson) printData({ name, is_set: value !== undefined, ...(isShown && { value }) }, flags, io);
  else if (isShown) io.stdout(`${value}\n`);
  else io.stdout(cleanText(`'${name}' is ${value === undefined ? "not set" : "set"}\n`));
  return value === undefined ? 1 : 0;
}

async function listSecrets(args: readonly string[], io: SecretsIo): Promise<number> {
  const { flags } = readWords("secrets list", args);
  const { config: path, dataDir } = flags;
  const { env, cwd, home } = io;
  const config = await loadConfig({ path, dataDir, env, cwd, home, create: false });
  const users = new Map<string, string[]>();
  const note = (user: string, texts: readonly string[]): void => {
    for (const name of keyringNames(texts)) users.set(name, [...(users.get(name) ?? []), user]);
  };
  note("api_key", [config.settings.apiKey ?? ""]);
  for (const { name, url = "", args: words, env: variables, headers } of config.servers)
    note(name, [url, ...words, ...variables.values(), ...headers.values()]);
  const keyring = keyringOf(io);
  const rows = await Promise.all(
    [...users].map(async ([name, used_by]) => {
      const is_set = (await keyring.get(name)) !== undefined;
      return { name, is_set, used_by };
    }),
  );
  if (flags.isJson) printData({ secrets: rows, total: rows.length }, flags, io);
  else if (rows.length === 0) io.stdout("The configuration refers to no secret of the keyring\n");
  else {
    const table = rows.map(({ name, is_set, used_by }) => [
      name,
      is_set ? "set" : "not set",
      used_by.join(", "),
    ]);
    io.stdout(formatTable(["NAME", "VALUE", "USED BY"], table, { columns: io.columns }));
  }
  return rows.every(({ is_set }) => is_set) ? 0 : 1;
}

async function deleteSecret(args: readonly string[], io: SecretsIo): Promise<number> {
  const { flags, positionals } = readWords("secrets delete", args);
  const name = nameOf(positionals);
  const isDeleted = await keyringOf(io).delete(name);
  if (flags.isJson) printData({ name, deleted: isDeleted }, flags, io);
  else io.stdout(cleanText(isDeleted ? `Deleted '${name}'\n` : `'${name}' was not set\n`));
  return isDeleted ? 0 : 1;
}

function keyringOf({ keyring = SYSTEM_KEYRING }: SecretsIo): Keyring {
  return keyring;
}

function nameOf([name = ""]: readonly string[]): string {
  if (NAME.test(name)) return name;
  throw new ProxyError("USAGE", "Cannot use this name for a secret", {
    hint: "Use letters, digits, '-' and '_'; no braces, colons or control characters",
  });
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length <= MAX_VALUE_CHARS) continue;
    throw new ProxyError(
      "USAGE",
      `Cannot set a secret: the value has more than ${MAX_VALUE_CHARS} characters`,
    );
  }
  return text + decoder.decode();
}
