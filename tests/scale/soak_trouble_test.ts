/** Holds for how long a call may fail for what the soak did to its server. */
import { expect, test } from "bun:test";
import { Troubles } from "../../src/scale/soak_trouble.ts";

const GRACE_MS = 4_000;
const BACK_MS = 20_000;
const connected = (): boolean => true;
const gone = (): boolean => false;

test("causeOf() knows no reason for a server nothing was done to", () => {
  const troubles = new Troubles();
  troubles.begin("other", "fault");
  expect(troubles.causeOf("well", 0)).toBeUndefined();
});

test("causeOf() excuses a call that was under way at any moment of the trouble, and none that began after it", () => {
  const troubles = new Troubles();
  troubles.begin("ill", "fault");
  expect(troubles.causeOf("ill", 0)).toBe("fault");
  troubles.lift("ill", "fault", 1_000);
  expect(troubles.look(connected, 1_000 + GRACE_MS)).toEqual([]);
  expect(troubles.isOpen).toBe(false);
  expect(troubles.causeOf("ill", 1_000 + GRACE_MS)).toBe("fault");
  expect(troubles.causeOf("ill", 1_001 + GRACE_MS)).toBeUndefined();
});

test.each([
  ["a fault", "fault", GRACE_MS],
  ["a network cut", "network cut", GRACE_MS],
  ["a switch", "switch", 0],
] as const)(
  "look() ends %s when the server is seen connected after its grace, not before",
  (_, cause, grace) => {
    const troubles = new Troubles();
    troubles.begin("server", cause);
    expect(troubles.look(connected, 0)).toEqual([]);
    expect(troubles.isOpen).toBe(true);
    troubles.lift("server", cause, 100);
    if (grace > 0) expect(troubles.look(connected, 99 + grace)).toEqual(["server"]);
    expect(troubles.look(gone, 100 + grace)).toEqual(["server"]);
    expect(troubles.look(connected, 100 + grace)).toEqual([]);
    expect(troubles.isOpen).toBe(false);
    expect(troubles.late).toEqual([]);
  },
);

test("lift() leaves a server in trouble for as long as another cause stands, with the longest grace", () => {
  const troubles = new Troubles();
  troubles.begin("server", "fault");
  troubles.begin("server", "switch");
  troubles.lift("server", "switch", 10);
  troubles.look(connected, 1_000_000);
  expect(troubles.isOpen).toBe(true);
  troubles.begin("server", "switch");
  troubles.lift("server", "fault", 1_000_000);
  troubles.lift("server", "switch", 1_000_010);
  troubles.look(connected, 1_000_010);
  expect(troubles.isOpen).toBe(true);
  troubles.look(connected, 1_000_000 + GRACE_MS);
  expect(troubles.isOpen).toBe(false);
});

test("look() names who is not back in time as late, and excuses it no longer", () => {
  const troubles = new Troubles();
  troubles.begin("lost", "switch");
  troubles.lift("lost", "switch", 0);
  expect(troubles.look(gone, BACK_MS)).toEqual(["lost"]);
  expect(troubles.look(gone, BACK_MS + 1)).toEqual([]);
  expect(troubles.late).toEqual(["lost"]);
  expect(troubles.causeOf("lost", BACK_MS + 2)).toBeUndefined();
  troubles.begin("lost", "fault");
  expect(troubles.causeOf("lost", BACK_MS + 3)).toBe("fault");
});
