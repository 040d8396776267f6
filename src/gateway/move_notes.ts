/**
 * What a move of a server means beside itself: for its tools, for the tokens that name it, and for the log.
 *
 * Owns who is told of which move. Invariant: nothing here starts, stops or decides anything. A listener in each of them was
 * rejected: the order in which they hear would be nobody's.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Intake } from "../catalog/intake.ts";
import type { ProxyEvent } from "../core/events.ts";
import type { Log } from "../lib/log.ts";
import type { Tokens } from "../state/tokens.ts";

/** Who is told. */
export interface MoveDeps {
  readonly catalog: Catalog;
  readonly intake: Intake;
  readonly tokens: Pick<Tokens, "renameServers">;
  readonly log: Log;
}

/** Tells of the moves of servers. */
export class MoveNotes {
  readonly #deps: MoveDeps;
  /** Renames of one change, new names by old ones. */
  #renamed = new Map<string, string>();

  constructor(deps: MoveDeps) {
    this.#deps = deps;
  }

  /** What a move of a server means for its tools, the tokens that name it, and the log. */
  note(event: ProxyEvent): void {
    const { type, server } = event;
    if (type === "server_renamed" && server !== undefined) this.#renamed.set(event.data.from, server);
    // All at once: of servers that swap their names each keeps what is its own.
    else if (type !== "server_state_changed" && this.#renamed.size > 0) this.#rename();
    noteMove(event, this.#deps);
  }

  #rename(): void {
    const { intake, tokens } = this.#deps;
    const renamed = this.#renamed;
    this.#renamed = new Map();
    intake.rename(renamed);
    tokens.renameServers(renamed);
  }
}

function noteMove(event: ProxyEvent, { catalog, intake, log }: MoveDeps): void {
  const { server } = event;
  if (event.type === "server_state_changed" && server !== undefined) {
    const { before, after, reason } = event.data;
    log.debug("A server moved", {
      server,
      mode: after.mode,
      from: before.connection,
      to: after.connection,
      reason,
    });
    if (after.connection === "ready") catalog.markFresh(server);
    else catalog.markStale(server);
  } else if (event.type === "server_auto_disabled") {
    log.warn("A server was auto-disabled", { server, reason: event.data.reason });
  } else if (event.type === "server_recovered") {
    log.info("A server is back", { server, mode: event.data.mode });
  } else if (event.type === "server_removed" && server !== undefined) {
    intake.forget(server);
  } else if (event.type === "auto_disable_suspended" || event.type === "proxy_state_changed") {
    log.info(event.type.replaceAll("_", " "), { ...event.data });
  }
}
