/**
 * What may be started after a change that no plan judged.
 *
 * Owns the effects an edit by hand and a rollback have on approvals and quarantine. Invariants: who edits the file is a
 * person and approves what stands there; a rollback frees nothing and starts nothing that was not approved, unless it
 * says so. Judging by the startup mode was rejected: a mode says what is wanted, not what was looked at.
 */
import type { Server, StartupMode } from "../core/model.ts";
import type { CommitEffects, ConfigCommit } from "../state/config_commit.ts";
import type { Difference } from "../state/config_difference.ts";
import { definitionHash } from "../state/definition.ts";
import { LoadedConfig } from "../state/loaded_config.ts";
import type { ServerMemory, Store } from "../state/store.ts";

/** What is known of a server before the change. */
export interface Known {
  /** The mode in force. */
  readonly mode: StartupMode;
  readonly approvedHash?: string | undefined;
}

type Defined = readonly [name: string, hash: string];

/**
 * The effects of what stands in the file at a start: a server seen for the first time is approved, and so is one that
 * a person changed while no proxy ran; what was known and not approved stays so.
 */
export function effectsAtStart(
  servers: readonly Server[],
  known: { readonly findServer: (name: string) => ServerMemory | undefined },
): CommitEffects {
  const changed = servers.filter(
    (server) => known.findServer(server.name)?.definitionHash !== definitionHash(server),
  );
  const defined = changed.map(hashed);
  const isKnown = (name: string): boolean => known.findServer(name)?.definitionHash !== undefined;
  return { defined, approved: defined, cleared: changed.map(nameOf).filter(isKnown) };
}

/**
 * Notes what stands in the file by a person's hand, before anything else is done with it; it may have been saved since
 * it was read. Returns it as it is now.
 *
 * @throws {ProxyError} `CONFIG_INVALID` when it was saved with faults
 */
export function takeFile(
  loaded: LoadedConfig,
  { store, commit }: { readonly store: Store; readonly commit: ConfigCommit },
): LoadedConfig {
  const { text } = commit;
  const now = text === loaded.text ? loaded : LoadedConfig.parse(text, loaded.options);
  const { servers } = now.config;
  for (const { name, formerlyConnectedAt: at, startupMode } of servers) {
    // A lazy server is visited all the same: its tools are not in the file.
    if (at === undefined || startupMode === "lazy_loading" || store.findServer(name)) continue;
    store.rememberServer(name, { everConnected: true, ...(at > 0 ? { connectedAt: at } : {}) });
  }
  commit.adopt(text, effectsAtStart(servers, store));
  return now;
}

/** The effects of an edit by hand; `servers` are those after it. */
export function effectsByHand(difference: Difference, servers: readonly Server[]): CommitEffects {
  const defined = definedBy(difference);
  const released = new Set(
    difference.modes.filter(({ before, after }) => before === "quarantined" && after !== before).map(nameOf),
  );
  const isOn = (mode: StartupMode): boolean => mode === "active" || mode === "lazy_loading";
  return {
    removed: difference.removed,
    defined,
    approved: [...defined, ...servers.filter(({ name }) => released.has(name)).map(hashed)],
    quarantined: [...released].map((name) => [name, false] as const),
    cleared: [
      ...difference.restarted.map(nameOf),
      ...difference.modes.filter(({ after }) => isOn(after)).map(nameOf),
    ],
  };
}

/** The effects of a rollback; with `approves` a person vouches for all that it starts. */
export function effectsOfRollback(
  difference: Difference,
  options: {
    readonly approves: boolean;
    readonly known: (name: string) => Known | undefined;
  },
): CommitEffects {
  const { approves, known } = options;
  const defined = definedBy(difference);
  const approved = defined.filter(([name, hash]) => approves || known(name)?.approvedHash === hash);
  const held = defined.filter((it) => !approved.includes(it)).map(([name]) => name);
  const kept = difference.modes
    .filter(({ name, after }) => known(name)?.mode === "quarantined" && after !== "quarantined")
    .map(nameOf);
  return {
    removed: difference.removed,
    defined,
    approved,
    quarantined: [...new Set([...held, ...kept])].map((name) => [name, true] as const),
    cleared: difference.restarted.map(nameOf),
  };
}

function definedBy({ added, restarted }: Difference): Defined[] {
  return [...added, ...restarted].map(hashed);
}

function hashed(server: Server): Defined {
  return [server.name, definitionHash(server)];
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}
