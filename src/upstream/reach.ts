/**
 * Whether any host elsewhere answers at all, until the first one does.
 *
 * Owns what is known of the network in the first minutes of a run, when servers that never worked say nothing by failing:
 * which hosts on other machines could not be reached, and how often. Pure but for what it remembers. Invariants: it speaks
 * once in a run, and never after a host elsewhere has answered, with whatever; a host counts once however many servers it
 * has; this machine does not count. Judging the first failure of each was rejected: those that refuse do so before any
 * other had time to answer.
 */
import type { Server } from "../core/model.ts";
import type { Failure } from "./link.ts";

/** So many hosts are not down by themselves. */
const LEAST_HOSTS = 5;
/** Attempts at a host after which it is taken for unreachable. */
const LEAST_FAILURES = 2;

/** Somebody who keeps a server. */
interface Holder {
  readonly server: Server;
}

/** Watches whether the network is there. */
export class Reach<H extends Holder> {
  readonly #silent = new Map<string, { failures: number; readonly holders: Set<H> }>();
  #isOver = false;

  /** A server answered. */
  answered({ server }: H): void {
    if (!this.#isOver && hostElsewhere(server) !== undefined) this.#end();
  }

  /** An attempt failed; returns all whose hosts cannot be reached once that is the network's fault. */
  failed(holder: H, { isUnreached, class: failureClass }: Failure): readonly H[] {
    const host = this.#isOver ? undefined : hostElsewhere(holder.server);
    // Silence until the deadline says neither.
    if (host === undefined || failureClass === "timeout") return [];
    if (isUnreached !== true) {
      this.#end();
      return [];
    }
    const known = this.#silent.get(host) ?? { failures: 0, holders: new Set<H>() };
    this.#silent.set(host, known);
    known.failures += 1;
    known.holders.add(holder);
    const silent = [...this.#silent.values()].filter(({ failures }) => failures >= LEAST_FAILURES);
    if (silent.length < LEAST_HOSTS) return [];
    const all = silent.flatMap(({ holders }) => [...holders]);
    this.#end();
    return all;
  }

  #end(): void {
    this.#isOver = true;
    this.#silent.clear();
  }
}

/** The host of a server on another machine. */
function hostElsewhere({ url }: Server): string | undefined {
  const host = url === undefined ? undefined : URL.parse(url)?.hostname;
  const isHere = host === undefined || /^(?:.*\.)?localhost$|^127\.|^\[::1\]$/.test(host);
  return isHere ? undefined : host;
}
