/**
 * A command line run in this process, as the program runs it.
 *
 * Owns the process it sees: a terminal or none, and being told to end once it printed something. Invariant: the exit code
 * and all that was printed are in what comes back.
 */
import type { CommandIo, Terminal } from "../../src/cli/command.ts";
import { printFailure } from "../../src/cli/command.ts";
import { runProgram } from "../../src/cli/program.ts";
import { formatOf } from "../../src/cli/verb.ts";
import { makeIo } from "./fixtures.ts";

/** What a line came to. */
export interface RanLine {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Options of {@link runLine}. */
export interface RunLineOptions extends Partial<Pick<CommandIo, "cwd" | "home" | "env" | "ask">> {
  /** Gives it a terminal of this size. @default none */
  readonly size?: { readonly columns: number; readonly rows: number };
  /** Tells it to end once what it printed matches. @default it ends by itself */
  readonly until?: RegExp;
  /** Called with each text it prints. */
  readonly onOut?: (text: string) => void;
}

/** Runs a command line to its end. */
export async function runLine(args: readonly string[], options: RunLineOptions = {}): Promise<RanLine> {
  const { size, until, onOut = () => {}, ...parts } = options;
  const terminal: Terminal | undefined = size && { size: () => size, onResize: () => {} };
  const io = makeIo({ ...parts, terminal, columns: size?.columns });
  const listeners: (() => void)[] = [];
  const look = (): void => {
    if (until?.test(io.out()) === true) for (const listener of listeners.splice(0)) listener();
  };
  const serveIo = {
    ...io,
    stdout: (text: string): void => {
      io.stdout(text);
      onOut(text);
      look();
    },
    stdin: () => new Blob([]).stream(),
    onSignal: (listener: () => void): void => {
      listeners.push(listener);
      look();
    },
    exit: (code: number): never => {
      throw new Error(`exit ${code}`);
    },
  };
  try {
    return { code: await runProgram(args, serveIo), out: io.out(), err: io.err() };
  } catch (error) {
    const code = printFailure(error, io, formatOf(args, parts.env ?? {}));
    return { code, out: io.out(), err: io.err() };
  }
}
