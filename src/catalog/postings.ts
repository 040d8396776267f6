/**
 * Posting lists: for each term, the documents that hold it and with what weight.
 *
 * Owns the memory: all lists share two typed arrays, each list a block of a power of two, freed blocks
 * reused by size. Invariants: no document is twice in a list; the arrays never grow past about twice
 * what was in use at once, whatever comes and goes. A pair of typed arrays for each term was rejected:
 * the headers of 30,000 terms weigh more than what they hold.
 */

/** Entries the store has room for at first. */
const FIRST_ENTRIES = 1_024;

/** A growing set of posting lists; list numbers are handed out and taken back. */
export class Postings {
  #documents = new Int32Array(FIRST_ENTRIES);
  #weights = new Float32Array(FIRST_ENTRIES);
  /** First entry never handed out. */
  #end = 0;
  /** By size class (the power of two): starts of freed blocks. */
  readonly #freeBlocks: number[][] = [];
  readonly #freeLists: number[] = [];
  readonly #starts: number[] = [];
  readonly #counts: number[] = [];
  readonly #classes: number[] = [];

  /** Documents of all lists; read from {@link startOf} for {@link countOf} entries, until the next write. */
  get documents(): Int32Array {
    return this.#documents;
  }

  /** Weights, parallel to {@link documents}. */
  get weights(): Float32Array {
    return this.#weights;
  }

  /** Where a list begins. */
  startOf(list: number): number {
    return this.#starts[list] ?? 0;
  }

  /** How many documents a list has. */
  countOf(list: number): number {
    return this.#counts[list] ?? 0;
  }

  /** The weight of one document in a list; undefined when it is not in it. */
  weightOf(list: number, document: number): number | undefined {
    const start = this.startOf(list);
    const at = this.#documents.subarray(start, start + this.countOf(list)).indexOf(document);
    return at < 0 ? undefined : this.#weights[start + at];
  }

  /** Makes an empty list and returns its number; numbers of freed lists come back. */
  make(): number {
    const list = this.#freeLists.pop() ?? this.#starts.length;
    this.#starts[list] = this.#take(0);
    this.#counts[list] = 0;
    this.#classes[list] = 0;
    return list;
  }

  /** Appends a document that is not in the list yet. */
  add(list: number, document: number, weight: number): void {
    const count = this.countOf(list);
    if (count === 1 << (this.#classes[list] ?? 0)) this.#grow(list);
    const at = this.startOf(list) + count;
    this.#documents[at] = document;
    this.#weights[at] = weight;
    this.#counts[list] = count + 1;
  }

  /** Takes a document out; a list that becomes empty is freed, which is told by `true`. */
  remove(list: number, document: number): boolean {
    const start = this.startOf(list);
    const last = start + this.countOf(list) - 1;
    const at = this.#documents.indexOf(document, start);
    if (at < 0 || at > last) return false;
    this.#documents[at] = this.#documents[last] ?? 0;
    this.#weights[at] = this.#weights[last] ?? 0;
    this.#counts[list] = last - start;
    if (last > start) return false;
    this.#give(this.#classes[list] ?? 0, start);
    this.#freeLists.push(list);
    return true;
  }

  #grow(list: number): void {
    const size = this.#classes[list] ?? 0;
    const from = this.startOf(list);
    const to = this.#take(size + 1);
    this.#documents.copyWithin(to, from, from + (1 << size));
    this.#weights.copyWithin(to, from, from + (1 << size));
    this.#give(size, from);
    this.#starts[list] = to;
    this.#classes[list] = size + 1;
  }

  #give(size: number, start: number): void {
    (this.#freeBlocks[size] ??= []).push(start);
  }

  #take(size: number): number {
    const freed = this.#freeBlocks[size]?.pop();
    if (freed !== undefined) return freed;
    const start = this.#end;
    this.#end += 1 << size;
    if (this.#end > this.#documents.length)
      this.#enlarge(Math.max(this.#end, Math.ceil(this.#documents.length * 1.5)));
    return start;
  }

  #enlarge(length: number): void {
    const documents = new Int32Array(length);
    documents.set(this.#documents);
    this.#documents = documents;
    const weights = new Float32Array(length);
    weights.set(this.#weights);
    this.#weights = weights;
  }
}
