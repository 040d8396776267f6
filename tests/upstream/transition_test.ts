/** Holds every cell of startup mode × connection state × event against tables written from SPEC §3, not from the code. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { STARTUP_MODES } from "../../src/core/model.ts";
import type { ConnectionState, StartupMode } from "../../src/core/model.ts";
import { modeInForce, moveConnection, moveMode } from "../../src/upstream/transition.ts";
import type { ConnectionEvent, ModeEvent } from "../../src/upstream/transition.ts";
import { verifies } from "../requirements.ts";

const CONNECTION_EVENTS = ["attempt", "authenticate", "discover", "ready", "fail", "close"] as const;
const MODE_EVENTS = [
  "activate",
  "make_lazy",
  "disable",
  "auto_disable",
  "recover",
  "quarantine",
  "approve",
  "reject",
] as const;

/**
 * Next connection state by event, in the order of CONNECTION_EVENTS; `-` is refused. A letter is a state:
 * d disconnected, c connecting, a authenticating, i discovering, r ready, e error.
 */
const IF_ON = {
  disconnected: "c-----",
  connecting: "-ai-ed",
  authenticating: "--i-ed",
  discovering: "---red",
  ready: "----ed",
  error: "c----d",
} as const;
/** The same where nothing may be started. */
const IF_OFF = {
  disconnected: "------",
  connecting: "-ai-ed",
  authenticating: "--i-ed",
  discovering: "---red",
  ready: "----ed",
  error: "-----d",
} as const;
const CELLS = {
  active: IF_ON,
  lazy_loading: IF_ON,
  // The half-open probe.
  auto_disabled: IF_ON,
  disabled: IF_OFF,
  quarantined: IF_OFF,
} as const;
/** Next mode by event, in the order of MODE_EVENTS; A active, L lazy, D disabled, X auto-disabled, Q quarantined, F former. */
const MODES = {
  active: "-LDX-Q--",
  lazy_loading: "A-DX-Q--",
  disabled: "AL---Q--",
  auto_disabled: "ALD-FQ--",
  quarantined: "------FD",
} as const;

const STATE_OF = {
  d: "disconnected",
  c: "connecting",
  a: "authenticating",
  i: "discovering",
  r: "ready",
  e: "error",
} as const;
const MODE_OF = {
  A: "active",
  L: "lazy_loading",
  D: "disabled",
  X: "auto_disabled",
  Q: "quarantined",
  F: "former",
} as const;

const STATES = Object.keys(IF_ON) as ConnectionState[];

test("moveConnection() and moveMode() answer every cell as SPEC §3 does", () => {
  verifies("TRANSITION-CELLS");
  let cells = 0;
  for (const mode of STARTUP_MODES) {
    for (const state of STATES) {
      for (const [at, event] of CONNECTION_EVENTS.entries()) {
        const letter = CELLS[mode][state][at] as keyof typeof STATE_OF | "-";
        const expected = letter === "-" ? undefined : STATE_OF[letter];
        expect([mode, state, event, moveConnection(state, event, mode)]).toEqual([
          mode,
          state,
          event,
          expected,
        ]);
        cells += 1;
      }
      // The mode moves alike in every connection state: one row of a mode answers for six.
      for (const [at, event] of MODE_EVENTS.entries()) {
        expect([mode, event, moveMode(mode, event, "lazy_loading")]).toEqual([
          mode,
          event,
          modeCell(mode, at, "lazy_loading"),
        ]);
        cells += 1;
      }
    }
  }
  // 5 modes × 6 states × (6 events of the connection + 8 of the mode); 'former' has its own test below.
  expect(cells).toBe(420);
});

test("modeInForce() answers all 20 cases: what is held is quarantined, an auto-disable counts only over what connects", () => {
  verifies("TRANSITION-CELLS");
  for (const inFile of STARTUP_MODES) {
    for (const isHeld of [false, true]) {
      for (const isAutoDisabled of [false, true]) {
        const connects = inFile === "active" || inFile === "lazy_loading";
        const rest = isAutoDisabled && connects ? "auto_disabled" : inFile;
        expect(modeInForce(inFile, { isHeld, isAutoDisabled })).toBe(isHeld ? "quarantined" : rest);
      }
    }
  }
});

function modeCell(mode: StartupMode, at: number, former: StartupMode): StartupMode | undefined {
  const letter = MODES[mode][at] as keyof typeof MODE_OF | "-";
  if (letter === "-") return undefined;
  const to = MODE_OF[letter];
  return to === "former" ? former : to;
}

const anyMode = fc.constantFrom(...STARTUP_MODES);
const anyState = fc.constantFrom(...STATES);
const anyEvent: fc.Arbitrary<ConnectionEvent> = fc.constantFrom(...CONNECTION_EVENTS);
const anyModeEvent: fc.Arbitrary<ModeEvent> = fc.constantFrom(...MODE_EVENTS);

test("moveMode() leads back to the former mode by 'recover' and 'approve' only", () => {
  fc.assert(
    fc.property(anyMode, anyModeEvent, anyMode, (mode, event, former) => {
      const at = MODE_EVENTS.indexOf(event);
      expect(moveMode(mode, event, former)).toBe(modeCell(mode, at, former));
    }),
  );
});

test("moveConnection() never reaches 'ready' but through 'discovering', and a close always ends it", () => {
  fc.assert(
    fc.property(anyMode, fc.array(anyEvent, { maxLength: 40 }), (mode, events) => {
      let state: ConnectionState = "disconnected";
      for (const event of events) {
        const next = moveConnection(state, event, mode);
        if (next === "ready") expect(state).toBe("discovering");
        if (next === "connecting") expect(["disconnected", "error"]).toContain(state);
        state = next ?? state;
      }
      expect(moveConnection(state, "close", mode) ?? "disconnected").toBe("disconnected");
    }),
  );
});

test("no move names a state as its own target, so that each move is a change", () => {
  fc.assert(
    fc.property(anyMode, anyState, anyEvent, anyModeEvent, (mode, state, event, modeEvent) => {
      expect(moveConnection(state, event, mode)).not.toBe(state);
      const former = mode === "lazy_loading" ? "active" : "lazy_loading";
      expect(moveMode(mode, modeEvent, former)).not.toBe(mode);
    }),
  );
});

test("every way out of quarantine is a person's verb", () => {
  const ways = MODE_EVENTS.filter((event) => moveMode("quarantined", event, "active") !== undefined);
  expect(ways).toEqual(["approve", "reject"]);
});
