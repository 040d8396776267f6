/**
 * How a server's list of tools becomes findable, and stays so over a restart.
 *
 * Owns the order in which catalog, index and database take a list. Invariants: a list that did not change
 * writes nothing; what was known is searchable again before any upstream is connected; tools of servers
 * that are no longer configured are forgotten. Letting the index read the database itself was rejected:
 * it would be a second truth beside the catalog.
 */
import { messageOf } from "../core/errors.ts";
import type { ToolDefinition } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import type { Store } from "../state/store.ts";
import type { Catalog } from "./catalog.ts";
import type { SearchIndex } from "./search.ts";

/** A list with more changes enters the index in slices, so that the event loop turns in between. */
const MAX_UPDATE_AT_ONCE = 500;

/** What an {@link Intake} feeds. */
export interface IntakeDeps {
  readonly catalog: Catalog;
  readonly index: SearchIndex;
  readonly store: Store;
  readonly log: Log;
  /** Told after a server's tools changed, in the catalog and, but for a large list, in the index. */
  readonly onChange?: (server: string, change: ToolsChange) => void;
  /** Told when the whole of a list is searchable, milliseconds after it came; a server is ready when its list is taken. */
  readonly onIndexed?: (lagMs: number) => void;
}

/** Ids of tools. */
export interface ToolsChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

interface Taking {
  readonly definitions: readonly unknown[];
  readonly onIndexed?: () => void;
}

/** Takes in lists of tools. */
export class Intake {
  readonly #deps: IntakeDeps;
  #isRestored = false;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** Whether the tools known from before are searchable. */
  get isRestored(): boolean {
    return this.#isRestored;
  }

  /** Makes the tools known from before searchable, and forgets those of servers not in `servers`. */
  async restore(servers: ReadonlySet<string>): Promise<void> {
    const { catalog, index, store } = this.#deps;
    for (const name of store.serverNames()) if (!servers.has(name)) store.forgetServer(name);
    catalog.restore(store.readTools().filter((row) => servers.has(row.server)));
    await index.build(catalog.list());
    this.#isRestored = true;
  }

  /** Takes a server's whole list, as it announced it. */
  take(server: string, definitions: readonly unknown[]): void {
    const cameAt = performance.now();
    const onIndexed = (): void => this.#deps.onIndexed?.(performance.now() - cameAt);
    this.#tell(server, this.#take(server, { definitions, onIndexed }));
  }

  #take(server: string, { definitions, onIndexed }: Taking): ToolsChange {
    const { catalog, index, store, log } = this.#deps;
    const change = catalog.replace(server, definitions as readonly ToolDefinition[]);
    for (const { name, reason } of change.skipped)
      log.warn("A tool was left out", { server, tool: name, reason });
    const changed = [...change.added, ...change.changed];
    if (changed.length + change.removed.length === 0) {
      onIndexed?.();
      return change;
    }
    const tools = changed.flatMap((id) => catalog.find(id) ?? []);
    const isLarge = tools.length > MAX_UPDATE_AT_ONCE;
    index.update({ tools: isLarge ? [] : tools, removed: change.removed });
    if (isLarge) {
      void index
        .build(tools)
        .then(onIndexed)
        .catch((error) =>
          log.error("Cannot index the tools of a server", { server, cause: messageOf(error) }),
        );
    } else onIndexed?.();
    const rows = catalog.list({ server });
    store.saveTools(
      server,
      rows.map(({ name, text, fingerprint }) => ({ server, name, definition: text, fingerprint })),
    );
    return change;
  }

  #tell(server: string, { added, removed, changed }: ToolsChange): void {
    if (added.length + removed.length + changed.length === 0) return;
    this.#deps.onChange?.(server, { added, removed, changed });
  }

  /** Gives servers' tools the ids that follow from the new names; they stay as fresh as they were. */
  rename(renamed: ReadonlyMap<string, string>): void {
    const { catalog, index } = this.#deps;
    // All go before the first comes: two may swap their names.
    const moves = [...renamed].map(([from, to]) => {
      const isStale = catalog.isStale(from);
      const definitions = catalog.list({ server: from }).map(({ definition }) => definition);
      return { to, isStale, definitions, removed: catalog.remove(from) };
    });
    for (const { removed } of moves) index.update({ removed });
    for (const { to, isStale, definitions, removed } of moves) {
      const change = this.#take(to, { definitions });
      if (isStale) catalog.markStale(to);
      else catalog.markFresh(to);
      this.#tell(to, { ...change, removed: [...removed, ...change.removed] });
    }
  }

  /** Forgets a server's tools everywhere. */
  forget(server: string): void {
    const { catalog, index, store } = this.#deps;
    const removed = catalog.remove(server);
    index.update({ removed });
    store.forgetServer(server);
    this.#tell(server, { added: [], removed, changed: [] });
  }
}
