/**
 * A Unix socket that nobody else can ever open.
 *
 * Owns binding it in a folder that is closed to others, and moving it to its place only once it is closed itself; and
 * what to do with a socket that lies there already. Invariants: at no instant is it open to others, whatever the umask; a
 * socket somebody listens on is left alone, one nobody does is replaced; ours is removed at the end, and no other.
 * Setting the umask around the call was rejected: it is the whole process's, its threads included.
 */
import { chmodSync, lstatSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

/** What the kernel's address holds, without the NUL at its end: 108 on Linux, 104 on BSD and macOS. */
const MAX_PATH_BYTES = process.platform === "linux" ? 107 : 103;
const FOLDER = ".socket";

/** A socket in its place. */
export interface PrivateSocket<Listener> {
  readonly path: string;
  readonly listener: Listener;
  /** Takes the file away, unless somebody else put another one there. */
  readonly remove: () => void;
}

/**
 * Binds a socket at a path whose folder exists.
 *
 * @param bind makes the listener, at another path than the one it will be reached at
 * @throws Error saying why there can be none: the path is too long, or taken
 */
export async function bindPrivately<Listener>(
  path: string,
  bind: (path: string) => Listener,
): Promise<PrivateSocket<Listener>> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES)
    throw new Error(`its path has ${bytes} bytes, and the system takes ${MAX_PATH_BYTES}`);
  await assertFree(path);
  const folder = join(dirname(path), FOLDER);
  // What a run left that was killed in between.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  try {
    const closed = join(folder, "s");
    const listener = bind(closed);
    chmodSync(closed, 0o600);
    renameSync(closed, path);
    const { dev, ino } = lstatSync(path);
    const remove = (): void => {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.dev === dev && now.ino === ino) rmSync(path, { force: true });
    };
    return { path, listener, remove };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whatever is there must be a socket that nobody listens on. */
async function assertFree(path: string): Promise<void> {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) return;
  if (!entry.isSocket()) throw new Error("a file that is no socket lies there");
  if (await isAnswered(path)) throw new Error("another program listens there");
}

async function isAnswered(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {} } });
    socket.end();
    return true;
  } catch (error) {
    // Only this says that nobody is there; what is not understood is left alone.
    return (error as { readonly code?: unknown }).code !== "ECONNREFUSED";
  }
}
