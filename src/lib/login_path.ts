/**
 * The PATH a person has in a terminal.
 *
 * Owns asking the login shell for it, and the folders that programs are usually installed into. Invariants: the shell gets
 * one fixed command and no text from elsewhere; it is asked once, ends within its time with all it started, and whatever
 * it prints besides is passed over; without an answer there are still the folders. Reading the profile files was
 * rejected: only the shell knows what they mean.
 */
import { existsSync, readdirSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";

import { Child } from "./child.ts";

/** Options of {@link LoginPath}. */
export interface LoginPathOptions {
  /** The environment of this process: `SHELL`, `HOME`, `PATH`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How long the shell may take. @default 3000 */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 3_000;
const MAX_OUTPUT_CHARS = 256 * 1024;
const MARK = "__mcpproxy_path__";
const SCRIPT = `printf '%s%s%s' '${MARK}' "$PATH" '${MARK}'`;
/** What a profile may look at; nothing that grants anything. */
const PASSED_ON = ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "PATH", "TMPDIR", "XDG_CONFIG_HOME"];
/** Below the home folder. */
const HOME_FOLDERS = [
  ".local/bin",
  ".cargo/bin",
  ".bun/bin",
  ".deno/bin",
  "go/bin",
  ".volta/bin",
  ".asdf/shims",
  ".local/share/mise/shims",
  ".local/share/fnm/aliases/default/bin",
  "bin",
];
const SYSTEM_FOLDERS = [
  "/opt/homebrew/bin",
  "/opt/homebrew/sbin",
  "/home/linuxbrew/.linuxbrew/bin",
  "/usr/local/bin",
  "/usr/local/sbin",
  "/snap/bin",
];

/** Knows the PATH once it was asked for. */
export class LoginPath {
  readonly #options: LoginPathOptions;
  #path: Promise<string> | undefined;

  constructor(options: LoginPathOptions) {
    this.#options = options;
  }

  /** The PATH; asks the shell the first time. Never rejects. */
  get(): Promise<string> {
    this.#path ??= this.#read();
    return this.#path;
  }

  async #read(): Promise<string> {
    const { env, timeoutMs = TIMEOUT_MS } = this.#options;
    const login = process.platform === "win32" ? undefined : await askShell(env, timeoutMs);
    const own = (env["PATH"] ?? "").split(delimiter);
    const usual = usualFolders(env["HOME"]).filter((folder) => existsSync(folder));
    const folders = [...(login?.split(delimiter) ?? []), ...own, ...usual].filter((folder) => folder !== "");
    return [...new Set(folders)].join(delimiter);
  }
}

/** Undefined when the shell gives no PATH in time. */
async function askShell(env: LoginPathOptions["env"], timeoutMs: number): Promise<string | undefined> {
  const { SHELL: shell = "/bin/sh" } = env;
  if (!isAbsolute(shell)) return undefined;
  let said = "";
  const take = (chunk: Uint8Array): void => {
    if (said.length < MAX_OUTPUT_CHARS) said += Buffer.from(chunk).toString("utf8");
  };
  let child: Child;
  try {
    child = Child.spawn({
      command: shell,
      args: ["-lc", SCRIPT],
      env: passedOn(env),
      onStdout: take,
      onStderr: () => {},
    });
  } catch {
    return undefined;
  }
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([child.exited, late]);
  clearTimeout(timer);
  void child.stop({ stopGraceMs: 0, termGraceMs: 200 }).catch(() => {});
  const [, path] = said.split(MARK);
  return path === undefined || path === "" || !said.includes(`${MARK}${path}${MARK}`) ? undefined : path;
}

function passedOn(env: LoginPathOptions["env"]): Record<string, string> {
  const passed = PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return { ...Object.fromEntries(passed), TERM: "dumb" };
}

function usualFolders(home: string | undefined): string[] {
  if (home === undefined || home === "") return SYSTEM_FOLDERS;
  return [...HOME_FOLDERS.map((folder) => join(home, folder)), ...nodeFolders(home), ...SYSTEM_FOLDERS];
}

/** Of the versions nvm keeps the highest. */
function nodeFolders(home: string): string[] {
  const versions = join(home, ".nvm", "versions", "node");
  try {
    const [highest] = readdirSync(versions).toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }));
    return highest === undefined ? [] : [join(versions, highest, "bin")];
  } catch {
    return [];
  }
}
