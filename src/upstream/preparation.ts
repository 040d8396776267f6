/**
 * What has to be waited for before a server is started.
 *
 * Owns reading the secrets its entry refers to in the keyring, and the PATH of the login shell where it is wanted.
 * Invariants: a server that needs neither is not held up by a single turn of the loop; what was read lives as long as the
 * connection. Preparing all servers ahead was rejected: most need nothing, and a locked keyring would stop them all.
 */
import type { Server } from "../core/model.ts";
import type { EnvironmentSettings } from "../core/settings.ts";
import { keyringNames, readKeys, SYSTEM_KEYRING } from "../state/keyring.ts";
import type { Keyring } from "../state/keyring.ts";
import type { Environment } from "../state/secrets.ts";

/** What was waited for. */
export interface Prepared {
  /** Values of the keyring by name. */
  readonly keys?: ReadonlyMap<string, string>;
  /** Instead of the proxy's own PATH. */
  readonly path?: string;
}

/** Where it comes from. */
export interface PreparationDeps {
  readonly keyring: Keyring;
  readonly loginPath: { readonly get: () => Promise<string> };
}

/** Prepares a start; undefined when there is nothing to wait for. */
export type Prepare = (server: Server, environment: EnvironmentSettings) => Promise<Prepared> | undefined;

/** Makes the function that prepares starts on this system. */
export function systemPreparation(env: Environment, keyring: Keyring = SYSTEM_KEYRING): Prepare {
  let path: Promise<string> | undefined;
  const get = (): Promise<string> => {
    path ??= import("../lib/login_path.ts").then(({ LoginPath }) => new LoginPath({ env }).get());
    return path;
  };
  return preparation({ keyring, loginPath: { get } });
}

/** Makes the function that prepares starts. */
export function preparation({ keyring, loginPath }: PreparationDeps): Prepare {
  return (server, { enhancePath }) => {
    const names = keyringNames(textsOf(server));
    const wantsPath = enhancePath && server.command !== undefined;
    if (names.length === 0 && !wantsPath) return undefined;
    return (async () => {
      const [keys, path] = await Promise.all([
        names.length > 0 ? readKeys(names, keyring) : undefined,
        wantsPath ? loginPath.get() : undefined,
      ]);
      return { ...(keys && { keys }), ...(path !== undefined && { path }) };
    })();
  };
}

function textsOf({ url, args, env, headers }: Server): string[] {
  return [...(url === undefined ? [] : [url]), ...args, ...env.values(), ...headers.values()];
}
