/**
 * One small process that ends all children when this one cannot any more.
 *
 * Owns a POSIX shell that hears `+group` and `-group` on a pipe. When the pipe closes, which the system
 * does for a killed process too, it lets the remaining groups leave by themselves, then sends TERM, then
 * KILL: all over within about two seconds, and the shell with it. Invariants: the children never wait for the
 * guard; one that is lost costs nothing but protection, and another takes its place; after `close()`
 * none is left. A number cannot mean a foreign group while the proxy lives, since the system gives it to
 * nobody else before the last member is gone and the guard hears of that at once; afterwards each round
 * drops the groups that ended. Checking the environment of each group as well was rejected: a shell needs
 * a process for it, three hundred times, in the seconds that count. A parent-death signal was rejected
 * too: it reaches the direct child only.
 */

/** A guard that was lost sooner is replaced with the next child or after this time, so that nothing spins. */
const STEADY_MS = 1_000;
/** The longest the shell may take once its pipe is closed. */
const CLOSE_MS = 5_000;

/** The rounds are tenths of a second: 0.5 s to leave on the closed stdin, 1 s to leave on TERM. */
const SCRIPT = `
trap '' HUP INT QUIT TERM PIPE
groups=' '
while read -r line; do
  group=\${line#?}
  case $group in ''|0*|1|*[!0-9]*) continue ;; esac
  case $line in
    +*) groups="$groups$group " ;;
    -*) case $groups in *" $group "*) groups="\${groups%%" $group "*} \${groups#*" $group "}" ;; esac ;;
  esac
done
left() {
  kept=' '
  for group in $groups; do kill -s 0 -- "-$group" 2>/dev/null && kept="$kept$group "; done
  groups=$kept
  [ "$groups" != ' ' ]
}
await() {
  rounds=$1
  while left; do
    [ "$rounds" -gt 0 ] || return 1
    rounds=$((rounds - 1))
    sleep 0.1 2>/dev/null || { sleep 1; rounds=$((rounds - 9)); }
  done
}
signal() { for group in $groups; do kill -s "$1" -- "-$group" 2>/dev/null; done; }
await 5 && exit
signal TERM
await 10 && exit
signal KILL
`;

type Shell = Bun.Subprocess<"pipe", "ignore", "ignore">;

/** Options of {@link Guard}. */
export interface GuardOptions {
  /** Shown in the process list behind `mcpproxy-guard`. */
  readonly label?: string;
  /** Told why there is no guard at the moment. */
  readonly onLoss?: (reason: string) => void;
}

/** Watches over groups from outside. */
export class Guard implements AsyncDisposable {
  readonly #options: GuardOptions;
  readonly #groups = new Set<number>();
  #shell: Shell | undefined;
  #isClosed = false;

  constructor(options: GuardOptions = {}) {
    this.#options = options;
  }

  /** The guard's process id; undefined while there is none. */
  get pid(): number | undefined {
    return this.#shell?.pid;
  }

  /** Watches over a group; the first one starts the guard. */
  added(pgid: number): void {
    if (this.#isClosed) return;
    this.#groups.add(pgid);
    if (this.#shell === undefined) this.#start();
    else this.#tell(`+${pgid}\n`);
  }

  /** Forgets a group that is gone. */
  removed(pgid: number): void {
    if (this.#groups.delete(pgid)) this.#tell(`-${pgid}\n`);
  }

  /** Ends the guard, and with it what is still watched over. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const shell = this.#shell;
    if (shell === undefined) return;
    try {
      await shell.stdin.end();
    } catch {
      // It is gone already.
    }
    const timer = setTimeout(() => shell.kill("SIGKILL"), CLOSE_MS);
    await shell.exited;
    clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(): void {
    if (process.platform === "win32") return;
    const { label = "" } = this.#options;
    const startedAt = performance.now();
    try {
      const shell = Bun.spawn(["/bin/sh", "-c", SCRIPT, "mcpproxy-guard", label], {
        cwd: "/",
        env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
        stdin: "pipe",
        stdout: "ignore",
        stderr: "ignore",
        // What ends the proxy's group or session, such as Ctrl-C, must not end the guard.
        detached: true,
      });
      // It must not keep the process that it guards alive.
      shell.unref();
      this.#shell = shell;
      void shell.exited.then(() => this.#lost(shell, performance.now() - startedAt));
      this.#tell([...this.#groups].map((pgid) => `+${pgid}\n`).join(""));
    } catch (error) {
      this.#options.onLoss?.(`the guard process does not start: ${String(error)}`);
    }
  }

  #lost(shell: Shell, livedMs: number): void {
    if (this.#shell !== shell) return;
    this.#shell = undefined;
    if (this.#isClosed) return;
    this.#options.onLoss?.(`the guard process ${shell.pid} has ended`);
    setTimeout(() => this.#replace(), Math.max(0, STEADY_MS - livedMs)).unref();
  }

  #replace(): void {
    if (this.#shell === undefined && !this.#isClosed && this.#groups.size > 0) this.#start();
  }

  #tell(lines: string): void {
    const shell = this.#shell;
    if (shell === undefined) return;
    try {
      void Promise.resolve(shell.stdin.write(lines)).catch(() => {});
      void Promise.resolve(shell.stdin.flush()).catch(() => {});
    } catch {
      // A broken pipe: its end is told by `exited`.
    }
  }
}
