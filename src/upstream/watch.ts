/**
 * What is done while a link is ready: it is probed, its tools are read again, and it sleeps when idle.
 *
 * Owns those three timers. Invariants: a probe never touches calls in flight; three probes in a row
 * without an answer mean lost, one answer means well; nothing is done once stopped. One timer for all
 * three was rejected: their intervals are set apart, and each may be off.
 */
import type { Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { CancelTimer, Clock } from "../lib/clock.ts";
import type { Link } from "./link.ts";

const MAX_MISSES = 3;

/** Options of {@link watch}; an interval of 0 switches its part off. */
export interface WatchOptions {
  readonly link: Link;
  readonly clock: Clock;
  readonly healthIntervalMs: number;
  readonly discoveryIntervalMs: number;
  /** Unused for so long, it is idle. */
  readonly idleMs: number;
  /** Three probes went unanswered. */
  readonly onLost: () => void;
  readonly onIdle: () => void;
}

/** How often a server is probed and its tools are read, milliseconds; 0: never. */
export function intervalsOf(
  server: Server,
  settings: Settings,
): Pick<WatchOptions, "healthIntervalMs" | "discoveryIntervalMs"> {
  return {
    healthIntervalMs: server.healthCheckIntervalMs ?? settings.healthCheckIntervalMs,
    discoveryIntervalMs: server.toolDiscoveryIntervalMs ?? settings.toolDiscoveryIntervalMs,
  };
}

/** Watches a link until the returned function is called, or it is lost or idle. */
export function watch(options: WatchOptions): CancelTimer {
  const { link, clock, healthIntervalMs, discoveryIntervalMs, idleMs } = options;
  const cancels = new Set<CancelTimer>();
  const stop = (): void => {
    for (const cancel of cancels) cancel();
    cancels.clear();
  };
  const repeat = (intervalMs: number, act: () => void): void => {
    if (intervalMs <= 0) return;
    const cancel = clock.after(intervalMs, () => {
      cancels.delete(cancel);
      repeat(intervalMs, act);
      act();
    });
    cancels.add(cancel);
  };
  const end = (tell: () => void): void => {
    stop();
    tell();
  };

  repeat(
    healthIntervalMs,
    probeOf(link, () => end(options.onLost)),
  );
  repeat(discoveryIntervalMs, () => link.refresh());
  const awaitIdle = (waitMs: number): void => {
    const cancel = clock.after(waitMs, () => {
      cancels.delete(cancel);
      const restMs = link.inFlight > 0 ? idleMs : link.usedAt + idleMs - clock.now();
      if (restMs > 0) awaitIdle(restMs);
      else end(options.onIdle);
    });
    cancels.add(cancel);
  };
  if (idleMs > 0) awaitIdle(idleMs);
  return stop;
}

/** One probe a turn; a probe still unanswered at the next turn is a miss. */
function probeOf(link: Link, onLost: () => void): () => void {
  let misses = 0;
  let asked = 0;
  let isPending = false;
  return () => {
    if (isPending) misses += 1;
    if (misses >= MAX_MISSES) {
      onLost();
      return;
    }
    asked += 1;
    const number = asked;
    isPending = true;
    link.probe((isAlive) => {
      if (number !== asked) {
        // A late answer is an answer.
        if (isAlive) misses = 0;
        return;
      }
      isPending = false;
      misses = isAlive ? 0 : misses + 1;
    });
  };
}
