/**
 * A line that says that something is under way.
 *
 * Owns when it appears and that it is gone afterwards. Invariants: only a terminal sees it, on stderr; what is done at once
 * shows nothing; however the work ends, the line is taken away. A percentage was rejected: nobody knows it.
 */
import type { CommandIo } from "./command.ts";

const PATIENCE_MS = 400;
const STEP_MS = 120;
const STEPS = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const CLEAR_LINE = "\r\u001b[K";

/** Waits for work, telling so after a while; `text` is what is done. */
export async function withProgress<Result>(
  text: string,
  { io, work }: { readonly io: CommandIo; readonly work: () => Promise<Result> },
): Promise<Result> {
  if (io.terminal === undefined) return work();
  let step = 0;
  let waiting: Timer | undefined;
  const delay = setTimeout(() => {
    waiting = setInterval(() => {
      step += 1;
      const seconds = Math.floor((PATIENCE_MS + step * STEP_MS) / 1_000);
      io.stderr(`${CLEAR_LINE}${STEPS[step % STEPS.length]} ${text}${seconds > 0 ? ` ${seconds}s` : ""}`);
    }, STEP_MS);
  }, PATIENCE_MS);
  try {
    return await work();
  } finally {
    clearTimeout(delay);
    clearInterval(waiting);
    if (step > 0) io.stderr(CLEAR_LINE);
  }
}
