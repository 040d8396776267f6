/**
 * What a disk may hold after a power cut, worked out from the recorded calls of a program.
 *
 * Owns a small model of a file system with a cache: data of a file is lost until its fsync, names in a folder
 * until the fsync of the folder, each up to any point. Invariant: what was synced is never lost, names of one
 * folder are kept in the order they came. Pulling a real plug was rejected: SIGKILL keeps the cache, and a
 * virtual disk is not everywhere.
 */
import type { SystemCall } from "./strace.ts";

/** One change of the disk. */
export type DiskStep =
  | { readonly kind: "create"; readonly path: string; readonly file: number }
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "write"; readonly file: number; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: "cut"; readonly file: number; readonly length: number }
  | { readonly kind: "sync"; readonly file: number }
  | { readonly kind: "sync_folder"; readonly path: string }
  | { readonly kind: "rename" | "link" | "exchange"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly path: string }
  /** The program told somebody that it is done. */
  | { readonly kind: "answer" };

/** Names and contents. */
export type Disk = ReadonlyMap<string, Buffer>;

/** A disk after a cut. */
export interface CutState {
  readonly disk: Disk;
  /** Folders that are there. */
  readonly folders: ReadonlySet<string>;
  /** Steps that were made before the cut. */
  readonly after: number;
  readonly isAnswered: boolean;
}

type NameStep = Extract<
  DiskStep,
  { readonly kind: "create" | "folder" | "rename" | "link" | "exchange" | "remove" }
>;

/** A file with what is safe of it and what was written since. */
interface Content {
  durable: Buffer;
  pending: ((bytes: Buffer) => Buffer)[];
}

/**
 * Reads the steps out of a recording.
 *
 * @param root only what lies below it counts; a write of `"ok":true` elsewhere is the answer
 * @param first the files of the disk before it, which have the numbers 0, 1, 2 …
 */
export function stepsOf(
  calls: readonly SystemCall[],
  options: { readonly root: string; readonly first: Disk },
): DiskStep[] {
  const reader = new StepReader(options.root, [...options.first.keys()]);
  return calls.flatMap((call) => reader.read(call));
}

/** What is out of order in the steps of a commit; the order is in PROMISES.md. */
export function orderFaults(
  steps: readonly DiskStep[],
  paths: { readonly target: string; readonly log: number; readonly isSwap: (step: DiskStep) => boolean },
): string[] {
  const { target, log, isSwap } = paths;
  const swap = steps.findIndex(isSwap);
  const last = (until: number, which: (step: DiskStep) => boolean): number =>
    steps.slice(0, until).findLastIndex(which);
  const answer = steps.findIndex(({ kind }) => kind === "answer");
  const created = steps[last(swap, ({ kind }) => kind === "create")];
  const file = created?.kind === "create" ? created.file : -1;
  const isWriteOf = (wanted: number) => (step: DiskStep) => step.kind === "write" && step.file === wanted;
  const isSyncOf = (wanted: number) => (step: DiskStep) => step.kind === "sync" && step.file === wanted;
  const isFolderSync = (step: DiskStep): boolean =>
    step.kind === "sync_folder" && step.path === folderOf(target);
  const folder = steps.findIndex((step, at) => at > swap && isFolderSync(step));
  const row = steps.findIndex((step, at) => at > swap && isWriteOf(log)(step));
  const rules: readonly (readonly [sentence: string, holds: boolean])[] = [
    ["the intent is synced before the swap", last(swap, isWriteOf(log)) < last(swap, isSyncOf(log))],
    ["the text is synced before the swap", last(swap, isWriteOf(file)) < last(swap, isSyncOf(file))],
    ["the folder is synced before the database says done", folder !== -1 && folder < row],
    ["the database is synced before the answer", last(answer, isWriteOf(log)) < last(answer, isSyncOf(log))],
  ];
  return rules.flatMap(([sentence, holds]) => (holds ? [] : [`not so: ${sentence}`]));
}

class StepReader {
  readonly #root: string;
  /** The file that has a name now. */
  readonly #files: Map<string, number>;
  #count: number;
  readonly #open = new Map<string, number>();
  readonly #offsets = new Map<string, number>();

  constructor(root: string, first: readonly string[]) {
    this.#root = root;
    this.#files = new Map(first.map((path, at) => [path, at]));
    this.#count = first.length;
  }

  read(call: SystemCall): DiskStep[] {
    const { name, args, result } = call;
    const isAnswer = /^(?:write|writev|sendto)$/.test(name) && args.includes('"ok":true');
    if (isAnswer && !/^\d+<\//.test(args)) return [{ kind: "answer" }];
    // `?` stands behind the call that the program was killed at.
    if (/^(?:-1|\?)/.test(result) || !args.includes(this.#root)) return [];
    const [first = "", second = ""] = [...args.matchAll(/"(\/[^"]*)"/g)].map(([, path = ""]) => path);
    const [, fd = "", opened = ""] = /^(\d+)<([^>]*)>/.exec(args) ?? [];
    switch (name) {
      case "openat":
        return this.#opened(args, { path: first, fd: /^(\d+)/.exec(result)?.[1] ?? "" });
      case "close":
        this.#open.delete(fd);
        return [];
      case "write":
      case "pwrite64":
        return [this.#written(name, { args, fd, opened })];
      case "ftruncate":
        return [{ kind: "cut", file: this.#fileOf(fd, opened), length: Number(/, (\d+)$/.exec(args)?.[1]) }];
      case "fsync":
      case "fdatasync": {
        const file = this.#open.get(fd) ?? this.#files.get(opened);
        return [file === undefined ? { kind: "sync_folder", path: opened } : { kind: "sync", file }];
      }
      case "mkdir":
        return [{ kind: "folder", path: first }];
      case "rename":
      case "link":
        return [this.#named(name, first, second)];
      case "renameat2":
        return [this.#named("exchange", first, second)];
      case "unlink":
        this.#files.delete(first);
        return [{ kind: "remove", path: first }];
      default:
        return [];
    }
  }

  #opened(args: string, { path, fd }: { readonly path: string; readonly fd: string }): DiskStep[] {
    const known = this.#files.get(path);
    if (known !== undefined) {
      this.#open.set(fd, known);
      return [];
    }
    if (!args.includes("O_CREAT")) return [];
    const file = this.#count;
    this.#count += 1;
    this.#files.set(path, file);
    this.#open.set(fd, file);
    this.#offsets.set(fd, 0);
    return [{ kind: "create", path, file }];
  }

  #written(
    name: string,
    { args, fd, opened }: { readonly args: string; readonly fd: string; readonly opened: string },
  ): DiskStep {
    const [, text = "", count = "", offset] = /^\d+<[^>]*>, "(.*)", (\d+)(?:, (\d+))?$/s.exec(args) ?? [];
    const bytes = Buffer.from(text, "latin1");
    if (bytes.length !== Number(count))
      throw new Error(`${name} of ${count} bytes was recorded as ${bytes.length}`);
    const at = offset === undefined ? (this.#offsets.get(fd) ?? 0) : Number(offset);
    this.#offsets.set(fd, at + bytes.length);
    return { kind: "write", file: this.#fileOf(fd, opened), at, bytes };
  }

  #named(kind: "rename" | "link" | "exchange", from: string, to: string): DiskStep {
    const [one, other] = [this.#files.get(from), this.#files.get(to)];
    if (one !== undefined) this.#files.set(to, one);
    if (kind === "rename") this.#files.delete(from);
    if (kind === "exchange" && other !== undefined) this.#files.set(from, other);
    return { kind, from, to };
  }

  #fileOf(fd: string, opened: string): number {
    const file = this.#open.get(fd) ?? this.#files.get(opened);
    if (file === undefined) throw new Error(`Nothing is known of the open file ${fd} '${opened}'`);
    return file;
  }
}

/** Every disk that a power cut between two steps may leave; each one once. */
export function* cutStates(
  first: Disk,
  steps: readonly DiskStep[],
  folders: readonly string[],
): Generator<CutState> {
  const seen = new Set<string>();
  for (let after = 0; after <= steps.length; after += 1) {
    const done = steps.slice(0, after);
    const isAnswered = done.some(({ kind }) => kind === "answer");
    for (const state of statesOf(first, done, folders)) {
      const key = new Bun.CryptoHasher("sha1");
      for (const [path, bytes] of [...state.disk].toSorted(([a], [b]) => (a < b ? -1 : 1)))
        key.update(`${path}\0${bytes.length}\0`).update(bytes);
      const digest = `${key.digest("hex")} ${isAnswered} ${[...state.folders].join()}`;
      if (seen.has(digest)) continue;
      seen.add(digest);
      yield { ...state, after, isAnswered };
    }
  }
}

function* statesOf(
  first: Disk,
  done: readonly DiskStep[],
  folders: readonly string[],
): Generator<Pick<CutState, "disk" | "folders">> {
  const contents = [...first.values()].map((bytes): Content => ({ durable: bytes, pending: [] }));
  const safe: NameStep[] = [];
  const unsafe = new Map<string, NameStep[]>();
  for (const step of done) apply(step, { contents, safe, unsafe });
  for (const names of choices([...unsafe.values()].map(prefixesOf))) {
    // The order between folders does not matter here: no step moves a file from one to another.
    const named = namesAfter(first, [...safe, ...names.flat()], folders);
    const files = [...new Set(named.files.values())];
    for (const texts of choices(files.map((file) => versionsOf(contents[file])))) {
      const byFile = new Map(files.map((file, at) => [file, texts[at] ?? Buffer.alloc(0)]));
      const disk = [...named.files].map(
        ([path, file]) => [path, byFile.get(file) ?? Buffer.alloc(0)] as const,
      );
      yield { disk: new Map(disk), folders: named.folders };
    }
  }
}

function apply(
  step: DiskStep,
  state: {
    readonly contents: Content[];
    readonly safe: NameStep[];
    readonly unsafe: Map<string, NameStep[]>;
  },
): void {
  const { contents, safe, unsafe } = state;
  switch (step.kind) {
    case "write":
      contents[step.file]?.pending.push((bytes) => {
        const longer = Buffer.alloc(Math.max(bytes.length, step.at + step.bytes.length));
        bytes.copy(longer);
        step.bytes.copy(longer, step.at);
        return longer;
      });
      return;
    case "cut":
      contents[step.file]?.pending.push((bytes) => bytes.subarray(0, step.length));
      return;
    case "sync": {
      const content = contents[step.file];
      if (content === undefined) return;
      content.durable = content.pending.reduce((bytes, change) => change(bytes), content.durable);
      content.pending = [];
      return;
    }
    case "sync_folder":
      safe.push(...(unsafe.get(step.path) ?? []));
      unsafe.delete(step.path);
      return;
    case "answer":
      return;
    case "create":
    case "folder":
    case "rename":
    case "link":
    case "exchange":
    case "remove": {
      if (step.kind === "create") contents[step.file] = { durable: Buffer.alloc(0), pending: [] };
      const folder = folderOf("path" in step ? step.path : step.to);
      unsafe.set(folder, [...(unsafe.get(folder) ?? []), step]);
    }
  }
}

/** Nothing since the sync, the first write only, all but the last, everything. */
function versionsOf(content: Content | undefined): Buffer[] {
  if (content === undefined) return [Buffer.alloc(0)];
  const { durable, pending } = content;
  const counts = new Set(
    [0, 1, pending.length - 1, pending.length].filter((count) => count >= 0 && count <= pending.length),
  );
  return [...counts].map((count) =>
    pending.slice(0, count).reduce((bytes, change) => change(bytes), durable),
  );
}

function namesAfter(
  first: Disk,
  steps: readonly NameStep[],
  folders: readonly string[],
): { readonly files: Map<string, number>; readonly folders: Set<string> } {
  const files = new Map([...first.keys()].map((path, at) => [path, at]));
  const present = new Set(folders);
  for (const step of steps) {
    switch (step.kind) {
      case "create":
        files.set(step.path, step.file);
        break;
      case "folder":
        present.add(step.path);
        break;
      case "remove":
        files.delete(step.path);
        break;
      case "rename":
      case "link":
      case "exchange": {
        const [one, other] = [files.get(step.from), files.get(step.to)];
        if (one !== undefined) files.set(step.to, one);
        if (step.kind === "rename") files.delete(step.from);
        if (step.kind === "exchange" && other !== undefined) files.set(step.from, other);
      }
    }
  }
  // A file whose folder was lost is lost too.
  for (const path of files.keys()) if (!present.has(folderOf(path))) files.delete(path);
  return { files, folders: present };
}

function prefixesOf(steps: readonly NameStep[]): NameStep[][] {
  return Array.from({ length: steps.length + 1 }, (_, count) => steps.slice(0, count));
}

function* choices<T>(options: readonly (readonly T[])[]): Generator<T[]> {
  const [head, ...rest] = options;
  if (head === undefined) {
    yield [];
    return;
  }
  for (const one of head) for (const others of choices(rest)) yield [one, ...others];
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
