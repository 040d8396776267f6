/**
 * The commit engine as a child process, one line of JSON each way.
 *
 * Owns starting `commit_driver.ts` and reading its answers. Invariant: a program that ended answers
 * `undefined`, it never hangs.
 */
import { join } from "node:path";
import type { DriverAnswer, DriverRequest } from "./commit_driver.ts";
import type { Program, StartProgram } from "./crash_points.ts";
import { ROOT } from "./harness.ts";

/** The commit engine of a checkout. */
export function startDriver(
  options: {
    readonly root?: string;
    readonly isFilled?: boolean;
    /** A command that runs the driver, such as a tracer. */
    readonly under?: readonly string[];
  } = {},
): StartProgram {
  const { root = ROOT, isFilled = false, under = [] } = options;
  const script = join(root, "tests/e2e/commit_driver.ts");
  return (place) => {
    const args = [place.config, place.dataDir, ...(isFilled ? ["--fill"] : [])];
    return startProcess([...under, process.execPath, script, ...args]);
  };
}

async function startProcess(command: readonly string[]): Promise<Program> {
  const child = Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "ignore" });
  const lines = linesOf(child.stdout);
  const next = async (): Promise<DriverAnswer | undefined> => {
    const { value } = await lines.next();
    return value === undefined ? undefined : (JSON.parse(value) as DriverAnswer);
  };
  const first = await next();
  if (first === undefined) throw new Error(`The driver ended with ${await child.exited}`);
  return {
    pid: child.pid,
    first,
    ask: async (request: DriverRequest) => {
      void child.stdin.write(`${JSON.stringify(request)}\n`);
      await child.stdin.flush();
      return next();
    },
    stop: async () => {
      await child.stdin.end();
      await child.exited;
    },
    kill: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  return undefined;
}
