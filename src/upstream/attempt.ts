/**
 * One try at a server: from the line to a link, or to a failure.
 *
 * Owns the ticket at the scheduler, the deadline, and the link it opened, which it keeps once ready.
 * Invariants: the deadline's clock starts with the place, never in the line; after `end()` nothing of it
 * calls back; a place is given back the moment the attempt is ready, failed or ended. Leaving this to the
 * keeper was rejected: what belongs to one try must go with it, wholly.
 */
import type { Server } from "../core/model.ts";
import type { SupervisionSettings } from "../core/settings.ts";
import type { CancelTimer, Clock } from "../lib/clock.ts";
import type { Failure, Link, LinkHooks } from "./link.ts";
import type { RankedRequest, Scheduler, Ticket } from "./scheduler.ts";

/** Options of {@link Attempt}. */
export interface AttemptOptions<L extends Link> {
  readonly server: Server;
  readonly request: RankedRequest;
  readonly supervision: SupervisionSettings;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly open: (server: Server, hooks: LinkHooks) => L;
  /** Has a place now; returns how long it may take, milliseconds. */
  readonly onStart: () => number;
  readonly onMove: (event: "authenticate" | "discover") => void;
  readonly onReady: () => void;
  /** Failed, or the link broke later. */
  readonly onFail: (failure: Failure) => void;
  /** @default it may */
  readonly mayRespawn?: () => boolean;
  /** Others wait for their first attempt: to be asked again, uncounted. */
  readonly onEvict: () => void;
}

/** One try. */
export class Attempt<L extends Link> {
  readonly #options: AttemptOptions<L>;
  readonly #ticket: Ticket;
  #cancelDeadline: CancelTimer = () => {};
  #link: L | undefined;
  #isOver = false;

  constructor(options: AttemptOptions<L>) {
    const { server, request, supervision, scheduler } = options;
    const { startPatience, firstDeadlineMs } = supervision;
    this.#options = options;
    this.#ticket = scheduler.ticket({
      ...request,
      patienceMs: server.command === undefined ? startPatience.httpMs : startPatience.stdioMs,
      firstDeadlineMs,
      onStart: () => this.#start(),
      onEvict: options.onEvict,
    });
  }

  /** The link, as soon as it is opened. */
  get link(): L | undefined {
    return this.#link;
  }

  /** Joins the line; may start before this returns. */
  begin(): void {
    this.#ticket.join();
  }

  /** Ends it, wherever it stands; calls in flight have `graceMs`. */
  end(graceMs: number): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelDeadline();
    this.#link?.stop(graceMs);
    this.#ticket.done();
  }

  #start(): void {
    const { server, clock, open, onStart, onMove, onReady, onFail, mayRespawn } = this.#options;
    const deadlineMs = onStart();
    // Whoever heard of the start may have ended it.
    if (this.#isOver) return;
    this.#cancelDeadline = clock.after(deadlineMs, () => {
      if (this.#link && !this.#isOver) onFail(this.#link.expire(deadlineMs));
    });
    const ifOn =
      <Args extends readonly unknown[]>(act: (...args: Args) => void) =>
      (...args: Args): void => {
        if (!this.#isOver) act(...args);
      };
    this.#link = open(server, {
      onAnswer: ifOn(this.#ticket.answered),
      onMove: ifOn(onMove),
      onReady: ifOn(() => {
        this.#cancelDeadline();
        this.#ticket.done();
        onReady();
      }),
      onFail: ifOn(onFail),
      mayRespawn: () => !this.#isOver && (mayRespawn?.() ?? true),
    });
  }
}
