/** Holds that visits are paid one at a time, and that none is lost. */
import { expect, test } from "bun:test";
import { Visits } from "../../src/upstream/visits.ts";
import type { Visitable } from "../../src/upstream/visits.ts";
import { VirtualClock } from "./virtual_clock.ts";

interface Rig {
  readonly visits: Visits<Visitable>;
  readonly visited: string[];
  readonly make: (name: string, onVisit?: () => void) => { wantsVisit: boolean; visit: () => void };
  readonly clock: VirtualClock;
}

function rig(): Rig {
  const clock = new VirtualClock();
  const visited: string[] = [];
  const visits = new Visits<Visitable>(clock);
  const make: Rig["make"] = (name, onVisit = () => {}) => ({
    wantsVisit: true,
    visit: () => {
      visited.push(name);
      onVisit();
    },
  });
  return { visits, visited, make, clock };
}

test("Visits go to the next when one has ended, not from within its move", () => {
  const { visits, visited, make, clock } = rig();
  const [a, b] = [make("a"), make("b")];
  visits.add([a, b]);
  visits.add([b]);
  visits.ended(b);
  expect(visited).toEqual(["a"]);
  visits.ended(a);
  expect(visited).toEqual(["a"]);
  clock.advance(0);
  expect(visited).toEqual(["a", "b"]);
  visits.ended(b);
  clock.advance(0);
  expect([visited, clock.pending]).toEqual([["a", "b"], 0]);
});

test("Visits pass over who no longer wants one, and go on after one that ended at once", () => {
  const { visits, visited, make, clock } = rig();
  const hasty = make("hasty", () => visits.ended(hasty));
  const [bored, last] = [make("bored"), make("last")];
  visits.add([hasty, bored, last]);
  bored.wantsVisit = false;
  clock.advance(0);
  expect(visited).toEqual(["hasty", "last"]);
});

test("Visits.close() ends the visits, and the timer of the next", () => {
  const { visits, visited, make, clock } = rig();
  const [a, b] = [make("a"), make("b")];
  visits.add([a, b]);
  visits.ended(a);
  visits.close();
  clock.advance(0);
  expect([visited, clock.pending]).toEqual([["a"], 0]);
});
