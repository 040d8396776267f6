/**
 * Two files that change places in one step.
 *
 * Owns the one system call that Bun has no name for: `renameat2` with `RENAME_EXCHANGE` (Linux 3.15). What was
 * displaced lies at the other path afterwards and can be looked at, which a plain rename does not allow.
 * Invariant: either both files changed places or none did; where the system, the file system or a sandbox has
 * no such call the answer is `false` and the caller goes another way. A native addon was rejected: it would
 * have to be built for each platform.
 */
import { dlopen, read } from "bun:ffi";

/** `AT_FDCWD` of fcntl.h: paths count from the working directory. */
const AT_FDCWD = -100;
/** `RENAME_EXCHANGE` of linux/fs.h. */
const RENAME_EXCHANGE = 2;
/** errno(3): what a kernel, file system or seccomp filter without the call answers. */
const UNSUPPORTED = new Set([1, 22, 38, 95]);
/** errno(3), those a rename can give; equal on all Linux platforms. */
const CODES: Readonly<Record<number, readonly [code: string, text: string]>> = {
  2: ["ENOENT", "no such file or directory"],
  5: ["EIO", "i/o error"],
  12: ["ENOMEM", "not enough memory"],
  13: ["EACCES", "permission denied"],
  16: ["EBUSY", "resource busy or locked"],
  18: ["EXDEV", "cross-device link not permitted"],
  20: ["ENOTDIR", "not a directory"],
  28: ["ENOSPC", "no space left on device"],
  30: ["EROFS", "read-only file system"],
  122: ["EDQUOT", "disk quota exceeded"],
};
/** glibc, then musl. */
const LIBRARIES = [
  "libc.so.6",
  "libc.so",
  `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`,
];

/** What both libraries call the function that tells where errno lies. */
const ERRNO = "__errno_location";

type Renameat2 = (first: Buffer, second: Buffer) => number;

let renameat2: Renameat2 | false | undefined;

/**
 * Lets two files of one file system change places.
 *
 * @returns false when nothing was done because there is no such call here
 * @throws the system's error, with its `code`; nothing was done
 */
export function exchangeFiles(first: string, second: string): boolean {
  renameat2 ??= load();
  if (renameat2 === false) return false;
  const errno = renameat2(Buffer.from(`${first}\0`), Buffer.from(`${second}\0`));
  if (errno === 0) return true;
  if (UNSUPPORTED.has(errno)) return false;
  const [code, text] = CODES[errno] ?? [`E${errno}`, `error ${errno}`];
  const message = `${code}: ${text}, exchange '${first}' -> '${second}'`;
  throw Object.assign(new Error(message), { code, errno: -errno, syscall: "renameat2" });
}

/** The call as a function that returns the error number; loaded at the first use, which takes a millisecond. */
function load(): Renameat2 | false {
  if (process.platform !== "linux") return false;
  for (const library of LIBRARIES) {
    try {
      const { symbols } = dlopen(library, {
        renameat2: { args: ["i32", "ptr", "i32", "ptr", "u32"], returns: "i32" },
        [ERRNO]: { args: [], returns: "ptr" },
      });
      const { [ERRNO]: errnoPlace } = symbols;
      return (first, second) => {
        if (symbols.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) === 0) return 0;
        const place = errnoPlace();
        return place === null ? 38 : read.i32(place, 0);
      };
    } catch {
      // The next name, or another way to replace a file.
    }
  }
  return false;
}
