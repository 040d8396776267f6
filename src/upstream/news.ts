/**
 * What the owner of a server tells of it, beside the moves themselves.
 *
 * Owns two shapes: the news that mean something for other servers or deserve an event, and the numbers a list shows. No
 * behaviour. Invariant: news come in the turn of the move they belong to, after it but for `asked`, `failed` and
 * `closed`, which may decide what the move comes to. Events of the bus instead were rejected: not all of this is
 * anybody's business outside.
 */
import type { StartupMode } from "../core/model.ts";
import type { AutoDisabled } from "../state/store.ts";
import type { Failure } from "./link.ts";

type Caused = { readonly reason: string; readonly cause: number };
/** What deserves an event beside the move whose id is `cause`. */
export type KeeperNews =
  | (Caused & { readonly type: "auto_disabled"; readonly failures: number })
  | { readonly type: "recovered"; readonly mode: StartupMode; readonly cause: number }
  | (Caused & { readonly type: "quarantine"; readonly isQuarantined: boolean })
  | { readonly type: "first_attempt_ended" | "visit_ended" }
  /** An attempt joins the line; one has worked; an attempt or a link has failed; whatever there was is closed. */
  | { readonly type: "asked" | "ready" | "closed" }
  | { readonly type: "failed"; readonly failure: Failure };

/** How a server's attempts stand; times in Unix milliseconds. */
export interface KeeperStatus {
  readonly attempts: number;
  /** Counted failures in a row. */
  readonly failures: number;
  /** When the connection state was entered. */
  readonly since: number;
  readonly nextAttemptAt: number | undefined;
  /** Why the last attempt failed; undefined once ready. */
  readonly failure: Failure | undefined;
  readonly autoDisabled: AutoDisabled | undefined;
  /** An operator stopped it until further notice. */
  readonly isStopped: boolean;
  /** An attempt is under way, or in line. */
  readonly isTrying: boolean;
}
