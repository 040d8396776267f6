/**
 * `mcpproxy events`: what changes, as it happens.
 *
 * Owns the flags. Invariants: with `--json` each line is an event as the stream has it; what the proxy still remembers is
 * neither missed nor told twice when the connection breaks. An end after so many events was rejected: `head` does that.
 */
import { ProxyError } from "../core/errors.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords } from "./help.ts";
import { printEvents } from "./watch.ts";

/** Prints events until the process is told to end. */
export function runEvents(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readWords("events", args);
  const since = textFlag(values["since"]);
  if (since !== undefined && !/^\d{1,15}$/.test(since)) {
    throw new ProxyError("USAGE", `Cannot go on after '${since}': the id of an event is a number`, {
      hint: "Give the 'id' of the last event that arrived, or 0 for all that are remembered",
    });
  }
  const [types, servers, groups] = ["types", "servers", "groups"].map((name) => textFlag(values[name]));
  return printEvents({ query: { types, servers, groups }, since, flags, io });
}
