/**
 * The keyring of the operating system.
 *
 * Owns under which service our secrets lie there, and reading those that a text refers to as `${keyring:NAME}`.
 * Invariants: a value goes to whoever asked and is kept nowhere; a name without a value is left out, since who looks it up
 * says where it is missing. Reading all of them at the start was rejected: a locked keyring asks a person for each.
 */
import { messageOf, ProxyError } from "../core/errors.ts";
import { secretReferences } from "./secrets.ts";
import type { Environment } from "./secrets.ts";

/** Where secrets are kept by name. */
export interface Keyring {
  /** Undefined when there is none. */
  readonly get: (name: string) => Promise<string | undefined>;
  readonly set: (name: string, value: string) => Promise<void>;
  /** Whether there was one. */
  readonly delete: (name: string) => Promise<boolean>;
}

const SERVICE = "mcpproxy";

/**
 * That of this system: Keychain, Credential Manager, or libsecret.
 *
 * @throws {ProxyError} `SECRET_MISSING` when there is none
 */
export const SYSTEM_KEYRING: Keyring = {
  get: async (name) => (await asking(() => Bun.secrets.get({ service: SERVICE, name }))) ?? undefined,
  set: async (name, value) => asking(() => Bun.secrets.set({ service: SERVICE, name, value })),
  delete: async (name) => asking(() => Bun.secrets.delete({ service: SERVICE, name })),
};

/** The names that texts refer to, each once. */
export function keyringNames(texts: Iterable<string>): string[] {
  const names = new Set<string>();
  for (const text of texts) {
    if (!text.includes("${keyring:")) continue;
    for (const reference of secretReferences(text)) {
      if (reference.startsWith("keyring:")) names.add(reference.slice("keyring:".length));
    }
  }
  return [...names];
}

/** Reads the values of names; those without one are left out. @throws {ProxyError} as the keyring does */
export async function readKeys(
  names: readonly string[],
  keyring: Keyring,
): Promise<ReadonlyMap<string, string>> {
  const pairs = await Promise.all(names.map(async (name) => [name, await keyring.get(name)] as const));
  return new Map(pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined));
}

async function asking<Value>(ask: () => Promise<Value>): Promise<Value> {
  try {
    return await ask();
  } catch (error) {
    throw new ProxyError(
      "SECRET_MISSING",
      `Cannot reach the keyring of this system: ${messageOf(error).slice(0, 200)}`,
      {
        cause: error,
        hint: "Unlock it, or install libsecret and a secret service; or use ${env:NAME} instead",
      },
    );
  }
}

/** Makes the function that says whether a reference, as in `env:NAME` or `keyring:NAME`, has a value. */
export function secretLookup(env: Environment, keyring: Keyring): (reference: string) => Promise<boolean> {
  return async (reference) => {
    const [kind = "", ...rest] = reference.split(":");
    const name = rest.join(":");
    if (kind !== "keyring") return Object.hasOwn(env, name) && env[name] !== undefined;
    // A keyring that is out of reach gives nobody a value.
    const value = await keyring.get(name).catch(() => undefined);
    return value !== undefined;
  };
}
