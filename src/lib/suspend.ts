/**
 * Suspending this process, as Ctrl-Z does.
 *
 * Owns the one signal that does it. Invariant: what comes behind the call runs once the process goes on. Leaving it to
 * the default of the terminal's signal was rejected: timers that are due run before a handler of SIGCONT does.
 */

/** Stops this process until a shell lets it go on. */
export function suspendSelf(): void {
  process.kill(process.pid, "SIGSTOP");
}
