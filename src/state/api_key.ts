/**
 * The key that opens the admin API.
 *
 * Owns where the key comes from: the environment, the configuration, or a file in the data dir that is
 * made on the first start. Invariants: the file is readable to its owner only, and the key is never
 * logged. Writing a generated key into the configuration was rejected: that file is shared and copied.
 */
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Settings } from "../core/settings.ts";
import { writeFileAtomic } from "../lib/atomic_file.ts";
import { keyringNames, readKeys, SYSTEM_KEYRING } from "./keyring.ts";
import type { Keyring } from "./keyring.ts";
import { resolveSecrets } from "./secrets.ts";
import type { Environment, ResolveOptions } from "./secrets.ts";

const KEY_BYTES = 32;

/** The file in a data dir that holds a generated key. */
function apiKeyPath(dataDir: string): string {
  return join(dataDir, "api_key");
}

/** Reads the key of a data dir; undefined when none was made yet. */
export function readApiKey(dataDir: string): string | undefined {
  const path = apiKeyPath(dataDir);
  if (!existsSync(path)) return undefined;
  const key = readFileSync(path, "utf8").trim();
  return key === "" ? undefined : key;
}

/**
 * The same as {@link openApiKey}, for a key that may lie in the keyring.
 *
 * @throws {ProxyError} `SECRET_MISSING` when the configured key refers to what is not set.
 */
export async function unlockApiKey(
  settings: Pick<Settings, "apiKey" | "dataDir">,
  { env, keyring = SYSTEM_KEYRING }: { readonly env: Environment; readonly keyring?: Keyring | undefined },
): Promise<string> {
  const keys = await readKeys(keyringNames([settings.apiKey ?? ""]), keyring);
  return openApiKey(settings, env, { keys });
}

/**
 * Gives the configured key, else the one of the data dir, which is made when there is none.
 *
 * @throws {ProxyError} `SECRET_MISSING` when the configured key refers to a variable that is not set.
 */
export function openApiKey(
  settings: Pick<Settings, "apiKey" | "dataDir">,
  env: Environment,
  { keys }: Pick<ResolveOptions, "keys"> = {},
): string {
  if (settings.apiKey !== undefined && settings.apiKey !== "") {
    return resolveSecrets(settings.apiKey, env, { key: "api_key", keys });
  }
  const known = readApiKey(settings.dataDir);
  if (known !== undefined) {
    chmodSync(apiKeyPath(settings.dataDir), 0o600);
    return known;
  }
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(KEY_BYTES))).toString("hex");
  writeFileAtomic(apiKeyPath(settings.dataDir), `${key}\n`, { mode: 0o600 });
  return key;
}
