/**
 * What of a configuration's bytes an edit must leave alone.
 *
 * Owns the comparison of two texts outside of what differs between their values: read with jsonc-parser's tree, so
 * that nothing of the code under test judges itself. Invariants: a value that says the same stands byte for byte as it stood; around
 * values that changed only commas and blanks may differ, and only in an object or array that something came into or left.
 */
import { parseTree } from "jsonc-parser";
import type { Node } from "jsonc-parser";

const CUT = "\u0000";
const MARKER = /(?:\/\/|\/\*) *m\d+/g;

/** Says where `after` differs from `before` though no value differs there; undefined when it does not. */
export function strayEdit(before: string, after: string): string | undefined {
  if (before.startsWith("\ufeff") !== after.startsWith("\ufeff")) return "the byte order mark came or went";
  if (before.includes("\r\n") && /[^\r]\n/.test(after)) return "a line ends in another way";
  const [one, other] = [withoutMark(before), withoutMark(after)];
  const [from, to] = [treeOf(one), treeOf(other)];
  const [left, right] = [new Side(one).renderAll(from, to), new Side(other).renderAll(to, from)];
  if (left !== right) {
    let at = 0;
    while (left[at] === right[at]) at += 1;
    const piece = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 60), at + 60));
    return `outside of edited values ${piece(left)} became ${piece(right)}`;
  }
  const markers = after.match(MARKER) ?? [];
  if (new Set(markers).size < markers.length) return "a comment stands twice";
  return undefined;
}

function withoutMark(text: string): string {
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}

function treeOf(text: string): Node {
  const errors: [] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true });
  if (root === undefined || errors.length > 0)
    throw new Error(`The text is not sound: ${text.slice(0, 200)}`);
  return root;
}

/** One of two texts. */
class Side {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  renderAll(root: Node, other: Node): string {
    const end = root.offset + root.length;
    return this.#text.slice(0, root.offset) + this.#render(root, other) + this.#text.slice(end);
  }

  /** The node without what differs from its twin in the other text. */
  #render(node: Node, twin: Node): string {
    if (isEqualNode(node, twin)) return this.#slice(node);
    const items = itemsOf(node);
    const twins = itemsOf(twin);
    if (node.type !== twin.type || items === undefined || twins === undefined) return CUT;
    const isIdentified = node.type === "object" || items.concat(twins).some(({ id }) => id.startsWith("x "));
    if (!isIdentified && !isAligned(items, twins)) return CUT;
    const partners = new Map(twins.map((item) => [item.id, item]));
    const own = new Set(items.map(({ id }) => id));
    const isRefilled = items.some(({ id }) => !partners.has(id)) || twins.some(({ id }) => !own.has(id));
    const gap = (from: number, to: number): string => {
      const text = this.#text.slice(from, to);
      return isRefilled ? text.replaceAll(/(\/\/[^\r\n]*|\/\*.*?\*\/)|[\s,]+/gs, "$1") : text;
    };
    let result = "";
    let at = node.offset + 1;
    for (const { id, begin, key, value } of items) {
      const partner = partners.get(id);
      result += gap(at, begin);
      at = value.offset + value.length;
      if (partner === undefined) continue;
      if (key !== undefined) {
        const isSameKey = key.value === partner.key?.value;
        result += isSameKey ? this.#slice(key) : CUT;
        result += this.#text.slice(key.offset + key.length, value.offset);
      }
      result += this.#render(value, partner.value);
    }
    return `${result}${gap(at, node.offset + node.length - 1)}${this.#text[node.offset + node.length - 1]}`;
  }

  #slice(node: Node): string {
    return this.#text.slice(node.offset, node.offset + node.length);
  }
}

interface Item {
  /** Equal in both texts for what is the same thing. */
  readonly id: string;
  readonly begin: number;
  readonly key: Node | undefined;
  readonly value: Node;
}

/** Members by key, elements and servers by their `x_id`, else by place. */
function itemsOf(node: Node): Item[] | undefined {
  if (node.type !== "object" && node.type !== "array") return undefined;
  return (node.children ?? []).map((child, index) => {
    const [key, value] = node.type === "object" ? (child.children ?? []) : [undefined, child];
    if (value === undefined) throw new Error("A member has no value");
    const entry = value.children?.find(({ children }) => children?.[0]?.value === "x_id");
    const mark: unknown = entry?.children?.[1]?.value;
    const id = typeof mark === "string" ? `x ${mark}` : `k ${String(key?.value ?? index)}`;
    return { id, begin: child.offset, key, value };
  });
}

/** Whether elements kept their places and some came behind them. */
function isAligned(items: readonly Item[], twins: readonly Item[]): boolean {
  if (items.length === twins.length) return true;
  const [short, long] = items.length < twins.length ? [items, twins] : [twins, items];
  return short.length > 0 && short.every(({ value }, at) => isEqualNode(value, long[at]?.value ?? value));
}

function isEqualNode(a: Node, b: Node): boolean {
  if (a.type !== b.type) return false;
  const [left, right] = [a.children ?? [], b.children ?? []];
  if (a.type !== "object" && a.type !== "array" && a.type !== "property") return a.value === b.value;
  return left.length === right.length && left.every((child, at) => isEqualNode(child, right[at] ?? child));
}
