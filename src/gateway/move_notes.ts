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
  readonly tokens: Pick<Tokens, "renameServer">;
  readonly log: Log;
}

/** What a move of a server means for its tools and the log. */
export function noteMove(event: ProxyEvent, { catalog, intake, tokens, log }: MoveDeps): void {
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
  } else if (event.type === "server_renamed" && server !== undefined) {
    intake.rename(event.data.from, server);
    tokens.renameServer(event.data.from, server);
  } else if (event.type === "auto_disable_suspended" || event.type === "proxy_state_changed") {
    log.info(event.type.replaceAll("_", " "), { ...event.data });
  }
}
