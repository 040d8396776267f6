/**
 * The configuration file as a file: which one it is, and its text.
 *
 * Owns the order in which places are tried, making a default file, and one clear answer for whatever lies
 * at the path. Invariants: reading never waits (a FIFO is opened without blocking and refused), never takes
 * more than 50 MB, and a file that a person named is never made. What the text means
 * is `config.ts`'s matter.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { messageOf, ProxyError } from "../core/errors.ts";
import { expandHome } from "./config_server.ts";

/** What decides which file is read. */
export interface ConfigFileOptions {
  /** As given by `--config`. */
  readonly path?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  /** Whether a default file is made when there is none. @default true */
  readonly create?: boolean;
}

/** The largest file that is read, in bytes. */
export const FILE_SIZE_MAX_BYTES = 50 * 1024 * 1024;

const FILE_NAME = "mcp_config.json";
const DEFAULT_TEXT = '{\n  "mcpServers": []\n}\n';
const CHUNK_BYTES = 256 * 1024;
/** As many links as Linux follows. */
const LINKS_MAX = 40;

/**
 * Finds the configuration file: `--config`, `MCPPROXY_CONFIG`, `./mcp_config.json`,
 * `~/.mcpproxy/mcp_config.json`; makes the last one, 0600, when there is none of them.
 *
 * @returns its absolute path
 * @throws ProxyError `CONFIG_UNREADABLE` when the default one cannot be made, or `create` is false
 */
export function findConfigFile(options: ConfigFileOptions): string {
  const { env, cwd, home, create = true } = options;
  const named = options.path || env["MCPPROXY_CONFIG"];
  if (named) return resolve(cwd, expandHome(named, home));
  const near = resolve(cwd, FILE_NAME);
  if (isThere(near)) return near;
  const own = join(home, ".mcpproxy", FILE_NAME);
  if (isThere(own)) return own;
  if (!create) {
    throw new ProxyError(
      "CONFIG_UNREADABLE",
      `Cannot find a configuration: neither '${near}' nor '${own}' is there`,
      {
        data: { path: own },
        hint: "Name one with --config, or start mcpproxy serve once, which makes one",
      },
    );
  }
  makeDefault(own);
  return own;
}

/**
 * Reads the whole file as text; a byte order mark stays out.
 *
 * @throws ProxyError `CONFIG_UNREADABLE` saying what lies at the path and what to do
 */
export function readConfigFile(path: string): string {
  const text = decodeConfig(path, readConfigBytes(path));
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}

/**
 * The text of a file's bytes; a byte order mark stays in, so that encoding it again gives the same bytes.
 *
 * @throws ProxyError `CONFIG_UNREADABLE` when it is not UTF-8
 */
export function decodeConfig(path: string, bytes: Uint8Array): string {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    throw unreadable(path, "it is UTF-16 text", "Save the file again as UTF-8");
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw unreadable(path, "it is not UTF-8 text", "Save the file again as UTF-8", cause);
  }
}

/**
 * Follows the links of the last part of a path; what the last one names need not be there.
 *
 * @throws ProxyError `CONFIG_UNREADABLE` when they go in a circle
 */
export function resolveLink(path: string): string {
  let real = path;
  for (let count = 0; count <= LINKS_MAX; count += 1) {
    if (lstatSync(real, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return real;
    real = resolve(dirname(real), readlinkSync(real));
  }
  throw openError(path, Object.assign(new Error("too many links"), { code: "ELOOP" }));
}

/**
 * Reads all bytes of a file.
 *
 * @throws ProxyError `CONFIG_UNREADABLE` saying what lies at the path and what to do
 */
export function readConfigBytes(path: string): Uint8Array {
  let file: number;
  try {
    // Without O_NONBLOCK, opening a FIFO waits until somebody writes into it.
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw openError(path, cause);
  }
  try {
    const stat = fstatSync(file);
    if (stat.isDirectory())
      throw unreadable(path, "it is a directory", `Name a file, such as '${join(path, FILE_NAME)}'`);
    if (!stat.isFile())
      throw unreadable(path, "it is no regular file", "Name a regular file; pipes and devices are not read");
    return readUpTo(file, path, stat.size);
  } catch (cause) {
    if (cause instanceof ProxyError) throw cause;
    throw unreadable(path, messageOf(cause), "Check the file and its disk", cause);
  } finally {
    closeSync(file);
  }
}

function readUpTo(file: number, path: string, size: number): Uint8Array {
  const tooLarge = (): ProxyError =>
    unreadable(
      path,
      `it is larger than ${FILE_SIZE_MAX_BYTES / 1024 / 1024} MB`,
      "Check that it is the right file",
    );
  if (size > FILE_SIZE_MAX_BYTES) throw tooLarge();
  let buffer = new Uint8Array(size + 1);
  let length = 0;
  for (;;) {
    const count = readSync(file, buffer, length, buffer.length - length, null);
    length += count;
    if (count === 0) return buffer.subarray(0, length);
    if (length > FILE_SIZE_MAX_BYTES) throw tooLarge();
    if (length < buffer.length) continue;
    // It grows while it is read: go on to its end.
    const larger = new Uint8Array(buffer.length + CHUNK_BYTES);
    larger.set(buffer);
    buffer = larger;
  }
}

function openError(path: string, cause: unknown): ProxyError {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
  switch (code) {
    case "ENOENT":
      return unreadable(
        path,
        "there is no such file",
        "Check the path, or leave --config and MCPPROXY_CONFIG out",
        cause,
      );
    case "EACCES":
    case "EPERM":
      return unreadable(
        path,
        "permission is denied",
        `Run: chmod u+r '${path}', or start as the user who owns it`,
        cause,
      );
    case "ELOOP":
      return unreadable(path, "its links go in a circle", "Mend the symbolic link", cause);
    case "ENOTDIR":
      return unreadable(path, "a part of the path is no directory", "Check the path", cause);
    case "ENXIO":
      return unreadable(
        path,
        "it is no regular file",
        "Name a regular file; pipes and devices are not read",
        cause,
      );
    case "ENAMETOOLONG":
      return unreadable(path, "the path is too long", "Check the path", cause);
    default:
      return unreadable(path, messageOf(cause), "Check the path", cause);
  }
}

function unreadable(path: string, detail: string, hint: string, cause?: unknown): ProxyError {
  const shown = path.length > 300 ? `${path.slice(0, 300)}…` : path;
  return new ProxyError("CONFIG_UNREADABLE", `Cannot read configuration '${shown}': ${detail}`, {
    data: { path },
    hint,
    cause,
  });
}

/** Whether anything lies there, a dangling link too: that one is worth an error, not a silent way around. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function makeDefault(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(path, "wx", 0o600);
    try {
      writeSync(file, DEFAULT_TEXT);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    // Another process made it in the meantime: as good.
    if (isThere(path)) return;
    throw new ProxyError(
      "CONFIG_UNREADABLE",
      `Cannot make the default configuration '${path}': ${messageOf(cause)}`,
      {
        data: { path },
        hint: "Name a configuration with --config, or make the folder writable",
        cause,
      },
    );
  }
}
