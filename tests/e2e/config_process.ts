/**
 * The configuration as a child process, one line of JSON each way.
 *
 * Owns starting `config_driver.ts` and reading its answers. Invariant: a process that ended answers `undefined`, it never hangs.
 */
import { join } from "node:path";
import type { DriverAsk, DriverReply } from "./config_driver.ts";
import { ROOT } from "./harness.ts";

/** A running process with the configuration; its first answer says what it found. */
export class ConfigProcess implements AsyncDisposable {
  readonly #child;
  readonly #lines: AsyncGenerator<string, undefined>;

  constructor(config: string, dataDir: string) {
    const script = join(ROOT, "tests/e2e/config_driver.ts");
    this.#child = Bun.spawn([process.execPath, script, config, dataDir], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    this.#lines = linesOf(this.#child.stdout);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The next answer; undefined when it ended without one. */
  async next(): Promise<DriverReply | undefined> {
    const { value } = await this.#lines.next();
    return value === undefined ? undefined : (JSON.parse(value) as DriverReply);
  }

  /** Asks, and does not wait. */
  send(ask: DriverAsk): void {
    void this.#child.stdin.write(`${JSON.stringify(ask)}\n`);
    void this.#child.stdin.flush();
  }

  /** Asks for something and gives the answer; throws when there is none. */
  async ask(ask: DriverAsk): Promise<DriverReply> {
    this.send(ask);
    const reply = await this.next();
    if (reply === undefined) throw new Error("The driver ended");
    return reply;
  }

  /** Kills it, when it lives, and waits. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
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
