/**
 * Things that have a number and a name, and the words they may be called by.
 *
 * Owns what a slug is, which of two equal ones gets its number behind it, and in which order a word is
 * looked up: as a number, a name, a slug. Invariants: every thing has a slug of its own, fit for a path of a
 * URL and leading back to it; a word means the same thing wherever it is written; nothing here throws.
 * Looking up names first was rejected: older files write numbers, and a thing named `7` must not take the
 * members of number 7.
 */

/** What can be looked up. */
export interface Numbered {
  readonly id: number;
  readonly name: string;
}

/**
 * Writes a name in lower case with `-` for what is neither letter nor digit; empty when nothing is left.
 *
 * Letters of every script stay, with their marks; one way of writing an accent is as good as the other.
 */
export function slugOf(name: string): string {
  return name
    .normalize("NFC")
    .toLowerCase()
    .replaceAll(/\p{Variation_Selector}/gu, "")
    .replaceAll(/[^\p{L}\p{N}\p{M}]+/gu, "-")
    .replaceAll(/^[-\p{M}]+|-+$/gu, "");
}

/** Finds things by number, name or slug; of equal numbers or names the first counts. */
export class Slugs<Item extends Numbered> {
  readonly #byId = new Map<string, Item>();
  readonly #byName = new Map<string, Item>();
  readonly #bySlug = new Map<string, Item>();
  readonly #slugs = new Map<Item, string>();

  constructor(items: Iterable<Item>) {
    const all = [...items];
    for (const item of all) {
      if (!this.#byId.has(String(item.id))) this.#byId.set(String(item.id), item);
      if (!this.#byName.has(item.name)) this.#byName.set(item.name, item);
    }
    const late: Item[] = [];
    for (const item of all) {
      const slug = slugOf(item.name);
      if (slug === "" || !this.#isFree(slug, item)) late.push(item);
      else this.#give(item, slug);
    }
    // After the plain ones, so that a number behind one slug takes nobody's own.
    for (const item of late) {
      const plain = slugOf(item.name);
      let slug = plain === "" ? String(item.id) : `${plain}-${item.id}`;
      while (!this.#isFree(slug, item)) slug += `-${item.id}`;
      this.#give(item, slug);
    }
  }

  /** The slug of one of the things; empty for a foreign one. */
  of(item: Item): string {
    return this.#slugs.get(item) ?? "";
  }

  /** Finds what a word means; a number means a number only. */
  find(word: string | number): Item | undefined {
    const byId = this.#byId.get(String(word));
    if (byId !== undefined || typeof word === "number") return byId;
    return this.#byName.get(word) ?? this.#bySlug.get(word);
  }

  /** Whether a look-up of the slug would not end at another thing first. */
  #isFree(slug: string, item: Item): boolean {
    const holders = [this.#byId.get(slug), this.#byName.get(slug), this.#bySlug.get(slug)];
    return holders.every((holder) => holder === undefined || holder === item);
  }

  #give(item: Item, slug: string): void {
    this.#bySlug.set(slug, item);
    this.#slugs.set(item, slug);
  }
}
