/**
 * Editing JSON with comments in place: values, places, and what must not change.
 *
 * Owns how edits of one list meet, and a small model: random texts and random edits, whose result must be sound, say
 * what the model says, and keep every comment and every byte that no edit named. The look is in `jsonc_layout_test.ts`.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { JsonPath } from "../../src/lib/jsonc.ts";
import { parseJsonc } from "../../src/lib/jsonc.ts";
import type { JsoncEdit } from "../../src/lib/jsonc_text.ts";
import { JsoncText } from "../../src/lib/jsonc_text.ts";
import { verifies } from "../requirements.ts";

const set = (path: JsonPath, value: unknown): JsoncEdit => ({ kind: "set", path, value });
const remove = (...path: JsonPath): JsoncEdit => ({ kind: "remove", path });
const append = (path: JsonPath, value: unknown): JsoncEdit => ({ kind: "append", path, value });
const rename = (path: JsonPath, key: string): JsoncEdit => ({ kind: "rename", path, key });

type Row = readonly [name: string, before: string, edits: readonly JsoncEdit[], after: string];

const TOGETHER: readonly Row[] = [
  [
    "rename keeps place and value",
    '{\n  "a": 1, // one\n  "b": 2\n}',
    [rename(["a"], 'c"')],
    '{\n  "c\\"": 1, // one\n  "b": 2\n}',
  ],
  ["renames swap", '{"a": 1, "b": 2}', [rename(["a"], "b"), rename(["b"], "a")], '{"b": 1, "a": 2}'],
  ["a doubled key is renamed as a whole", '{"a": 1, "a": 2}', [rename(["a"], "b")], '{"b": 1, "b": 2}'],
  [
    "a rename takes the key of a removed one",
    '{"a": 1, "b": 2}',
    [rename(["a"], "b"), remove("b")],
    '{"b": 1}',
  ],
  [
    "rename and set meet",
    '{"a": {"x": 1}}',
    [rename(["a"], "b"), set(["a", "x"], 2), set(["a", "y"], 3)],
    '{"b": {"x": 2, "y": 3}}',
  ],
  [
    "paths refer to the first text",
    "[0, 1, 2]",
    [remove(0), set([2], "x"), append([], "y")],
    '[1, "x", "y"]',
  ],
  [
    "edits inside a removed value vanish",
    '{"a": {"x": 1}, "b": 2}',
    [set(["a", "x"], 2), remove("a"), set(["a", "y"], 3), append(["a"], 1), rename(["a"], "c"), remove("a")],
    '{"b": 2}',
  ],
  [
    "a removed value that is set comes back",
    '{"a": 1, "b": 2}',
    [remove("a"), set(["a"], { c: 1 }), set(["a", "d"], 2)],
    '{"a": {"c": 1, "d": 2}, "b": 2}',
  ],
  [
    "child, then parent",
    '{"a": {"x": 1}}',
    [set(["a", "x"], 2), remove("a", "x"), set(["a"], { y: 1 })],
    '{"a": {"y": 1}}',
  ],
  [
    "parent, then children",
    '{"a": {"x": 1}}',
    [
      set(["a"], { x: 5, y: [1, 2], z: 1 }),
      remove("a", "y", 0),
      append(["a", "y"], 3),
      rename(["a", "z"], "w"),
      remove("a", "x"),
      set(["a", "y", 0], 7),
    ],
    '{"a": {"y": [7, 3], "w": 1}}',
  ],
  [
    "new members are edited too",
    "{}",
    [set(["a"], 1), set(["b"], 2), remove("a"), rename(["b"], "c"), set(["c"], 3)],
    '{\n  "c": 3\n}',
  ],
  [
    "an appended list goes on",
    '{"a": null}',
    [set(["a"], []), append(["a"], 1), append(["a"], 2)],
    '{"a": [1, 2]}',
  ],
];

test.each(TOGETHER.map((row) => [...row]))("JsoncText.edit(): %s", (_name, before, edits, after) => {
  expect(new JsoncText(before).edit(edits)).toBe(after);
  expect(parseJsonc(after).faults).toEqual([]);
});

test.each([
  ["an element past the end", "[1]", [set([1], 2)]],
  ["a member of an array", "[1]", [set(["a"], 2)]],
  ["an element of an object", '{"a": 1}', [set([0], 2)]],
  ["an element of nothing", '{"a": 1}', [set(["b", 0], 2)]],
  ["an append to an object", '{"a": {}}', [append(["a"], 2)]],
  ["an append to text", '{"a": "null"}', [append(["a"], 2)]],
  ["an append to a new number", "{}", [set(["a"], 1), append(["a"], 2)]],
  ["a rename of nothing", '{"a": 1}', [rename(["b"], "c")]],
  ["a rename of an element", "[1]", [rename([0], "c")]],
  ["a rename within a scalar", '{"a": 1}', [rename(["a", "b"], "c")]],
  ["a rename to a taken key", '{"a": 1, "b": 2}', [rename(["a"], "b")]],
  ["a rename to the key of a new member", '{"a": 1}', [rename(["a"], "b"), set(["b"], 1)]],
  ["a rename of a new member to a taken key", '{"a": 1}', [set(["b"], 1), set(["c"], 1), rename(["b"], "c")]],
  ["a rename in a new value to a taken key", "{}", [set(["a"], { x: 1, y: 2 }), rename(["a", "x"], "y")]],
  ["the removal of the whole", "{}", [remove()]],
] as const)("JsoncText.edit() refuses %s", (_name, text, edits) => {
  expect(() => new JsoncText(text).edit(edits)).toThrow(/^Cannot \w+ .*: .* — /);
});

test("JsoncText.edit() leaves the given values and itself as they are", () => {
  const value = { list: [1] };
  const text = new JsoncText('{"a": 1}');
  expect(text.edit([set(["b"], value), append(["b", "list"], 2)])).toBe('{"a": 1, "b": {"list": [1, 2]}}');
  expect(value).toEqual({ list: [1] });
  expect(text.edit([])).toBe('{"a": 1}');
  expect(text.value).toEqual({ a: 1 });
});

const token = fc.constantFrom(
  ...'{ } [ ] , : "a" "b" "__proto__" "\\u0061" "\\x" 1 -0 1.50 -2.5e3 1e999 01 1. - true null nul // /*y*/ /* x " \\ # / \u00a0 \uFEFF \t'.split(
    " ",
  ),
  "//x\n",
  "//x\r",
  " ",
  "\n",
  "\r\n",
);

test("JsoncText takes the texts that parseJsonc takes and reads the same value", () => {
  const same = (text: string): void => {
    const { faults, value } = parseJsonc(text);
    if (faults.length > 0)
      expect(() => new JsoncText(text)).toThrow(/^Cannot edit the text: .* at line \d+$/);
    else expect(written(new JsoncText(text).value)).toBe(written(value));
  };
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (parts) => same(parts.join(""))),
    { numRuns: 5000 },
  );
  fc.assert(fc.property(fc.json(), same), { numRuns: 500 });
  for (const depth of [100, 101]) same("[".repeat(depth) + "]".repeat(depth));
  expect(() => new JsoncText("[".repeat(200_000))).toThrow("Cannot edit the text");
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

/** A value of a random text and where it stands. */
interface Spot {
  readonly path: JsonPath;
  /** Behind the value before, or the bracket. */
  readonly behind: number;
  readonly begin: number;
  readonly start: number;
  readonly end: number;
  /** Behind its comma, if it has one. */
  after: number;
  readonly isDouble: boolean;
  readonly value: unknown;
}

/** A comment and the values it stands in, the outermost first. */
interface Remark {
  readonly mark: string;
  readonly around: readonly Around[];
}

interface Around {
  readonly path: JsonPath;
  readonly isDouble: boolean;
  /** Not between key and value. */
  isInValue: boolean;
}

type Tree =
  | {
      readonly kind: "object" | "array";
      readonly items: readonly (readonly [key: string, value: Tree])[];
      readonly isInline: boolean;
    }
  | { readonly kind: "scalar"; readonly text: string };

const KEYS = ["a", "b", "c", "__proto__", "a b", "\\u0061"];
const SCALARS = ["1", "1.0", "-0", "1e3", "true", "null", '""', '"// no"', '"/* no */"', '"\\u0041{"', '"]"'];
const { tree } = fc.letrec<{ tree: Tree; box: Tree; scalar: Tree }>((tie) => ({
  scalar: fc.constantFrom(...SCALARS).map((text) => ({ kind: "scalar", text })),
  box: fc.record({
    kind: fc.constantFrom("object", "array"),
    items: fc.array(fc.tuple(fc.constantFrom(...KEYS), tie("tree")), { maxLength: 4 }),
    isInline: fc.boolean(),
  }),
  tree: fc.oneof({ maxDepth: 3, withCrossShrink: true }, tie("scalar"), tie("box"), tie("box")),
}));
const style = fc.record({
  eol: fc.constantFrom("\n", "\r\n", "\r"),
  unit: fc.constantFrom("", "  ", "    ", "\t"),
  isTidy: fc.boolean(),
  hasMark: fc.boolean(),
  hasTrailing: fc.boolean(),
  /** What stands between two tokens, over and over: # is a block comment, / a line comment, n a line break. */
  gaps: fc.array(fc.constantFrom("", "", "", " ", "\t", "n", "#", " # ", "/", " /", "n  /n", "#n#"), {
    minLength: 1,
    maxLength: 9,
  }),
});
type Style = typeof style extends fc.Arbitrary<infer T> ? T : never;

interface Place {
  readonly key: string | undefined;
  readonly isDouble: boolean;
  readonly indent: string;
}

/** Writes a tree as a text, noting where all things stand. */
class Draft {
  text = "";
  readonly spots: Spot[] = [];
  readonly remarks: Remark[] = [];
  #gap = 0;
  #behind = 0;
  readonly #around: Around[] = [];
  readonly #style: Style;

  constructor(root: Tree, look: Style) {
    this.#style = look;
    if (look.hasMark) this.text = "\uFEFF";
    this.#space();
    this.#item(root, [], { key: undefined, isDouble: false, indent: "" });
    this.#space();
  }

  #space(): void {
    const gap = this.#style.gaps[this.#gap++ % this.#style.gaps.length] ?? "";
    for (const sign of gap) {
      if (sign === "n") this.text += this.#style.eol;
      else if (sign === "#" || sign === "/") {
        const mark = `note${this.remarks.length};`;
        this.remarks.push({ mark, around: this.#around.map((one) => ({ ...one })) });
        this.text += sign === "#" ? `/*${mark}*/` : `// "${mark}${this.#style.eol}`;
      } else this.text += sign;
    }
  }

  #item(item: Tree, path: JsonPath, { key, isDouble, indent }: Place): unknown {
    const begin = this.text.length;
    const behind = this.#behind;
    const around = { path, isDouble, isInValue: false };
    this.#around.push(around);
    if (key !== undefined) {
      this.text += `"${key}"`;
      if (!this.#style.isTidy) this.#space();
      this.text += ":";
      if (this.#style.isTidy) this.text += " ";
      else this.#space();
    }
    const start = this.text.length;
    around.isInValue = true;
    let value: unknown;
    if (item.kind === "scalar") {
      this.text += item.text;
      value = JSON.parse(item.text);
    } else value = this.#box(item, path, { key, isDouble, indent });
    this.#around.pop();
    const end = this.text.length;
    this.#behind = end;
    this.spots.push({ path, behind, begin, start, end, after: end, isDouble, value });
    return value;
  }

  #box(
    { kind, items, isInline }: Tree & { kind: "object" | "array" },
    path: JsonPath,
    { isDouble, indent }: Place,
  ): unknown {
    const { isTidy, eol, unit, hasTrailing } = this.#style;
    const isObject = kind === "object";
    const line = isTidy && !isInline && items.length > 0 ? eol : "";
    const inner = line === "" ? "" : indent + unit;
    const value: Record<string, unknown> = {};
    this.text += isObject ? "{" : "[";
    this.#behind = this.text.length;
    for (const [index, [key, item]] of items.entries()) {
      this.text += line + inner;
      this.#space();
      const step = isObject ? (JSON.parse(`"${key}"`) as string) : index;
      const isAgain = Object.hasOwn(value, step);
      const place = { key: isObject ? key : undefined, isDouble: isDouble || isAgain, indent: indent + unit };
      const read = this.#item(item, [...path, step], place);
      if (!isAgain) put(value, String(step), read);
      const spot = this.spots.at(-1);
      this.#space();
      if (hasTrailing || index < items.length - 1) {
        this.text += ",";
        if (spot !== undefined) spot.after = this.text.length;
      }
      this.#space();
    }
    if (items.length === 0) this.#space();
    this.text += (line === "" ? "" : line + indent) + (isObject ? "}" : "]");
    return isObject ? value : Object.values(value);
  }
}

const document = fc.record({ root: tree, look: style }).map(({ root, look }) => new Draft(root, look));
const fresh = fc.oneof(
  fc.constantFrom<unknown>(1, "x\n// no", null, true, [], {}),
  fc.json({ maxDepth: 2 }).map((text) => JSON.parse(text) as unknown),
);
const choice = fc.record({
  kind: fc.constantFrom("set", "set", "add", "remove", "remove", "append", "rename"),
  spot: fc.nat(),
  key: fc.constantFrom("a", "b", "n", "__proto__", "a b"),
  below: fc.array(fc.constantFrom("p", "q"), { maxLength: 2 }),
  value: fresh,
});
type Choice = typeof choice extends fc.Arbitrary<infer T> ? T : never;

function editOf({ kind, spot, key, below, value }: Choice, spots: readonly Spot[]): JsoncEdit {
  const counting = spots.filter(({ isDouble }) => !isDouble);
  const path = counting[spot % counting.length]?.path ?? [];
  if (kind === "add") return set([...path, key, ...below], value);
  if (kind === "set") return set(path, value);
  if (kind === "append") return append(path, value);
  return kind === "rename" ? rename(path, key) : remove(...path);
}

/** A value of the model: what the text says, and what was written since. */
interface Slot {
  step: string | number | undefined;
  key: string;
  /** A scalar, or the slots of an object or array. */
  now: { kind: "object" | "array" | "scalar"; slots: Slot[]; scalar: unknown };
  isGone: boolean;
  /** It or its value is not in the text. */
  isNew: boolean;
  /** What the text says; a symbol for what is not in it. */
  readonly first: unknown;
}

const NOTHING = Symbol("nothing");

function slotOf(step: Slot["step"], value: unknown, isNew: boolean): Slot {
  const kind = Array.isArray(value)
    ? "array"
    : typeof value === "object" && value !== null
      ? "object"
      : "scalar";
  const slots: Slot[] = [];
  if (Array.isArray(value))
    for (const [index, inner] of value.entries()) slots.push(slotOf(index, inner, isNew));
  else if (kind === "object")
    for (const [key, inner] of Object.entries(value as object)) slots.push(slotOf(key, inner, isNew));
  return {
    step,
    key: String(step),
    now: { kind, slots, scalar: value },
    isGone: false,
    isNew,
    first: isNew ? NOTHING : value,
  };
}

function refuse(): never {
  throw new Error("refused by the model");
}

/** What the list of edits means, one after the other. */
function act(slot: Slot, edit: JsoncEdit, depth: number): void {
  const { path, kind } = edit;
  const step = path[depth];
  if (step === undefined && kind === "set") {
    const isSame = slot.first !== NOTHING && written(slot.first) === written(edit.value);
    Object.assign(slot, { now: slotOf(0, edit.value, !isSame).now, isGone: false, isNew: !isSame });
  }
  if (slot.isGone || (step === undefined && kind === "set")) return;
  const { now } = slot;
  if (step === undefined) {
    if (kind !== "append") return refuse();
    if (now.kind === "scalar" && now.scalar === null)
      Object.assign(slot, { now: slotOf(0, [], true).now, isNew: true });
    if (slot.now.kind !== "array") refuse();
    slot.now.slots.push(slotOf(slot.isNew ? slot.now.slots.length : undefined, edit.value, true));
    return;
  }
  const child = now.slots.find((one) => one.step === step);
  if (child === undefined && kind === "remove") return;
  if (child === undefined) {
    if (kind === "rename" || now.kind === "array" || typeof step === "number") return refuse();
    if (now.kind === "scalar") Object.assign(slot, { now: slotOf(0, {}, true).now, isNew: true });
    const made = slotOf(step, null, true);
    slot.now.slots.push(made);
    act(made, edit, depth + 1);
  } else if (depth < path.length - 1 || kind === "set" || kind === "append") act(child, edit, depth + 1);
  else if (kind === "remove") dropFrom(slot, child);
  else renameIn(slot, child, edit.key);
}

function dropFrom({ now, isNew }: Slot, child: Slot): void {
  if (child.first !== NOTHING) child.isGone = true;
  else now.slots.splice(now.slots.indexOf(child), 1);
  if (isNew && now.kind === "array") for (const [index, one] of now.slots.entries()) one.step = index;
}

function renameIn({ now, isNew }: Slot, child: Slot, key: string): void {
  if (child.isGone) return;
  if (now.kind === "array") refuse();
  child.key = key;
  if (child.first !== NOTHING) return;
  if (now.slots.some((one) => one !== child && one.step === key)) refuse();
  child.step = key;
  if (!isNew) now.slots.push(...now.slots.splice(now.slots.indexOf(child), 1));
}

function valueOf({ now }: Slot): unknown {
  if (now.kind === "scalar") return now.scalar;
  const value: Record<string, unknown> = {};
  for (const [index, slot] of now.slots.filter(({ isGone }) => !isGone).entries()) {
    const key = now.kind === "array" ? String(index) : slot.key;
    if (Object.hasOwn(value, key)) refuse();
    put(value, key, valueOf(slot));
  }
  return now.kind === "array" ? Object.values(value) : value;
}

function modelOf(value: unknown, edits: readonly JsoncEdit[]): { slot: Slot; value: unknown } {
  const slot = slotOf(0, value, false);
  for (const edit of edits) {
    if (edit.path.length === 0 && (edit.kind === "remove" || edit.kind === "rename")) refuse();
    act(slot, edit, 0);
  }
  return { slot, value: valueOf(slot) };
}

function put(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

/** With a sign for -0, which JSON writes as 0. */
function written(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) =>
    Object.is(one, -0) ? "-0" : one === Infinity ? "1e999" : one,
  );
}

/** Tells whether a comment stands outside all that was removed or replaced. */
function isKept({ around }: Remark, root: Slot): boolean {
  let slot: Slot | undefined = root;
  for (const { path, isDouble, isInValue } of around) {
    if (path.length > 0)
      slot = slot?.now.slots.find(({ step, first }) => step === path.at(-1) && first !== NOTHING);
    if (slot === undefined || slot.isGone) return false;
    // A second member of a key goes with the first, but no edit reaches into it.
    if (isDouble) return true;
    if (isInValue && slot.isNew) return false;
  }
  return true;
}

function isWithin(path: JsonPath, other: JsonPath): boolean {
  return other.every((step, index) => path[index] === step);
}

test("JsoncText.edit() says what the edits mean and keeps all comments and untouched bytes", () => {
  fc.assert(
    fc.property(document, fc.array(choice, { minLength: 1, maxLength: 6 }), (draft, choices) => {
      const text = new JsoncText(draft.text);
      expect(written(text.value)).toBe(written(draft.spots.at(-1)?.value));
      let edits: readonly JsoncEdit[] = [];
      for (const one of choices) {
        const longer = [...edits, editOf(one, draft.spots)];
        try {
          modelOf(text.value, longer);
          edits = longer;
        } catch {
          expect(() => text.edit(longer)).toThrow("Cannot");
        }
      }
      const after = text.edit(edits);
      const { faults, value } = parseJsonc(after);
      expect(faults).toEqual([]);
      const model = modelOf(text.value, edits);
      expect(written(value)).toBe(written(model.value));
      expect(after.startsWith("\uFEFF")).toBe(draft.text.startsWith("\uFEFF"));
      const expected = draft.remarks.filter((remark) => isKept(remark, model.slot));
      expect([...(after.match(/note\d+;/g) ?? [])]).toEqual(expected.map(({ mark }) => mark));
      let at = 0;
      for (const { path, begin, end, value: inner } of draft.spots.filter(({ isDouble }) => !isDouble)) {
        // What holds other values begins before them.
        if (typeof inner === "object" && inner !== null) at = 0;
        if (edits.some((edit) => isWithin(path, edit.path) || isWithin(edit.path, path))) continue;
        at = after.indexOf(draft.text.slice(begin, end), at);
        expect(at).toBeGreaterThanOrEqual(0);
      }
    }),
    { numRuns: 2500 },
  );
});

/** Places of what stands outside of the elements that edits named, by path. */
function placesBeside(
  draft: { readonly spots: readonly Spot[] },
  edits: readonly JsoncEdit[],
  text: string,
): unknown[] {
  const read = parseJsonc(text);
  return draft.spots
    .filter(({ path, isDouble }) => !isDouble && !edits.some((edit) => isWithin(path, edit.path.slice(0, 2))))
    .map(({ path }) => [path, read.place(path)]);
}

test("JsoncText.edited() knows of the new text what reading it anew would tell, edit after edit", () => {
  let [carried, inPlace] = [0, 0];
  const inside = fc.array(fc.array(choice, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(document, inside, fc.array(choice, { maxLength: 4 }), (draft, rounds, last) => {
      let known = new JsoncText(draft.text);
      for (const choices of rounds) {
        const edits = choices.map((one) => editOf(one, draft.spots)).filter(({ path }) => path.length > 2);
        let text: string;
        try {
          text = new JsoncText(known.text).edit(edits);
        } catch {
          expect(() => known.edited(edits)).toThrow("Cannot");
          continue;
        }
        const { text: made, next, isInPlace } = known.edited(edits);
        expect(made).toBe(text);
        const anew = new JsoncText(text);
        if (next !== undefined) carried += 1;
        expect(written((next ?? anew).value)).toBe(written(anew.value));
        const isMoved = isInPlace && made !== known.text;
        if (isMoved) inPlace += 1;
        if (isMoved) expect(placesBeside(draft, edits, made)).toEqual(placesBeside(draft, edits, known.text));
        known = next ?? anew;
      }
      // Wherever they reach, what is done to it comes out the same.
      const after = (text: JsoncText, edits: readonly JsoncEdit[]): unknown => {
        try {
          return text.edit(edits);
        } catch (error) {
          return String(error);
        }
      };
      for (const one of last) {
        const edits = [editOf(one, draft.spots)];
        expect(after(known, edits)).toBe(after(new JsoncText(known.text), edits) as string);
      }
    }),
    { numRuns: 2500 },
  );
  expect(carried).toBeGreaterThan(100);
  expect(inPlace).toBeGreaterThan(20);
});

test("JsoncText.edited() shares what no edit reached, and reads the whole where one reaches further", () => {
  const text = new JsoncText('{"s": [{"a": 1, "b": []}, {"a": 2}], "t": {"u": 3}}');
  const { next, isInPlace } = text.edited([set(["s", 0, "a"], 10)]);
  expect(next?.value).toEqual({ s: [{ a: 10, b: [] }, { a: 2 }], t: { u: 3 } });
  const parts = (value: unknown): unknown[] => {
    const { s, t } = value as { readonly s: readonly unknown[]; readonly t: unknown };
    return [s[1], t];
  };
  const [second, other] = parts(text.value);
  const now = parts(next?.value);
  expect([now[0] === second, now[1] === other]).toEqual([true, true]);
  // The second one begins behind a longer first one, on the same line.
  expect(isInPlace).toBe(false);
  for (const edit of [set(["t", "u"], 4), remove("s", 0), append(["s"], 1), set(["s", 0], {}), set(["v"], 1)])
    expect(text.edited([edit]).next).toBeUndefined();
});

test("JsoncText.edited() knows the line of what begins where a new text ends", () => {
  const text = new JsoncText('{"s": [{\n  "a": {\n    "x": 1\n      }}, {\n}]}');
  const { next } = text.edited([set(["s", 0, "a"], 5)]);
  expect(next?.text).toBe('{"s": [{\n  "a": 5}, {\n}]}');
  expect(next?.edit([set(["s", 1, "b"], 1)])).toBe('{"s": [{\n  "a": 5}, {\n    "b": 1\n  }]}');
});

test("JsoncText.edit() changes no byte away from one edit", () => {
  verifies("EDIT-BYTES");
  fc.assert(
    fc.property(document, choice, (draft, one) => {
      const before = draft.text;
      const edit = editOf(one, draft.spots);
      let after: string;
      try {
        after = new JsoncText(before).edit([edit]);
      } catch {
        return;
      }
      const [start, end] = regionOf(edit, draft);
      if (start === undefined || end === undefined) return;
      expect(after.slice(0, start)).toBe(before.slice(0, start));
      expect(after.slice(after.length - (before.length - end))).toBe(before.slice(end));
      expect(after.length).toBeGreaterThanOrEqual(start + before.length - end);
      if (after !== before && edit.kind === "remove") {
        const spot = draft.spots.find(
          ({ path, isDouble }) => !isDouble && written(path) === written(edit.path),
        );
        const rest = before.slice(0, spot?.begin) + before.slice(spot?.end);
        expect(after.replaceAll(/[\s,]/g, "")).toBe(rest.replaceAll(/[\s,]/g, ""));
      }
    }),
    { numRuns: 2500 },
  );
});

/** Between which offsets an edit may change something. */
function regionOf({ kind, path }: JsoncEdit, { spots, text }: Draft): readonly (number | undefined)[] {
  const at = (wanted: JsonPath): readonly Spot[] =>
    spots.filter((spot) => written(spot.path) === written(wanted));
  const [spot] = at(path);
  if (at(path).length > 1 && kind !== "set") return [];
  if (spot === undefined || (kind === "append" && Array.isArray(spot.value))) {
    let length = path.length - (kind === "append" ? 0 : 1);
    while (at(path.slice(0, length)).length === 0) length -= 1;
    const holder = at(path.slice(0, length)).find(({ isDouble }) => !isDouble);
    if (holder === undefined) return [];
    if (typeof holder.value !== "object" || holder.value === null) return [holder.start, holder.end];
    const inner = spots.filter(
      (one) => one.path.length === length + 1 && one.start > holder.start && one.end < holder.end,
    );
    return [Math.max(holder.start + 1, ...inner.map((one) => one.end)), holder.end - 1];
  }
  if (kind === "rename") return [spot.begin, spot.start];
  if (kind !== "remove")
    return [
      at(path).find(({ isDouble }) => !isDouble)?.start,
      at(path).find(({ isDouble }) => !isDouble)?.end,
    ];
  return [spot.behind, spot.after + (/^\s*/.exec(text.slice(spot.after))?.[0].length ?? 0)];
}

test("JsoncText reads and edits 159 servers in little more than JSON.parse and many in linear time", () => {
  const servers = (count: number): string =>
    JSON.stringify(
      {
        mcpServers: Array.from({ length: count }, (_, index) => ({
          name: `s${index}`,
          command: "npx",
          args: ["-y", "x".repeat(500)],
          env: { A: "1" },
          startup_mode: "active",
        })),
      },
      null,
      2,
    );
  const timeOf = (count: number): number => {
    const text = servers(count);
    const started = performance.now();
    const edits = Array.from({ length: count }, (_, index) =>
      set(["mcpServers", index, "startup_mode"], "disabled"),
    );
    const after = new JsoncText(text).edit(edits);
    const took = performance.now() - started;
    expect(after).toBe(text.replaceAll('"active"', '"disabled"'));
    return took;
  };
  for (let round = 0; round < 5; round += 1) timeOf(159);
  // Seen: 1 ms and 80 ms; quadratic time would be minutes.
  expect(Math.min(...Array.from({ length: 5 }, () => timeOf(159)))).toBeLessThan(20);
  expect(timeOf(12_000)).toBeLessThan(3_000);
});

test("JsoncText.edited() keeps no text that came before, however many elements were edited", () => {
  const entries = Array.from({ length: 2_000 }, (_, at) => ({ name: `s${at}`, note: "x".repeat(200) }));
  let text = new JsoncText(JSON.stringify({ mcpServers: entries }, null, 2));
  const size = text.text.length;
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed;
  for (let at = 0; at < 300; at += 1) {
    const { next } = text.edited([
      { kind: "set", path: ["mcpServers", at, "note"], value: `changed ${at} again` },
    ]);
    if (next === undefined) throw new Error("It was to be read again");
    text = next;
  }
  Bun.gc(true);
  expect((process.memoryUsage().heapUsed - before) / size).toBeLessThan(30);
  expect(text.text).toContain("changed 299 again");
});
