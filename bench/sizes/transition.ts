/**
 * One server's move from mode to mode among N: the table, the event on the bus and its place in the ring, the row in the
 * store's queue; beside an entry of a map and its JSON. The queue is written between the measurements.
 */
import { EventRing } from "../../src/core/event_ring.ts";
import type { OpenPair } from "./pair.ts";
import { openSwitchable, switchableText } from "./switched.ts";

export const openTransition: OpenPair = async ({ size, folder }) => {
  const opened = await openSwitchable(folder, switchableText(size));
  const { upstreams, bus, store } = opened;
  const ring = new EventRing({ bus });
  const keepers = upstreams.list();
  const states = new Map(keepers.map(({ server: { name } }) => [name, { name, mode: "active", at: 0 }]));
  const names = [...states.keys()];
  const [turns, bareTurns] = [turnsOver(size), turnsOver(size)];
  return {
    ours: () => {
      const { at, isOff } = turns();
      if (keepers[at]?.assume(isOff ? "disabled" : "active", "a bench") !== true)
        throw new Error("It stayed");
    },
    baseline: () => {
      const { at, isOff } = bareTurns();
      const state = { name: names[at] ?? "", mode: isOff ? "disabled" : "active", at };
      states.set(state.name, state);
      return JSON.stringify(state);
    },
    settle: () => store.flush(),
    [Symbol.asyncDispose]: async () => {
      ring[Symbol.dispose]();
      await opened[Symbol.asyncDispose]();
    },
  };
};

/** One server after the other, all off and then all on. */
function turnsOver(size: number): () => { readonly at: number; readonly isOff: boolean } {
  let turn = -1;
  return () => {
    turn += 1;
    return { at: turn % size, isOff: Math.floor(turn / size) % 2 === 0 };
  };
}
