/**
 * `mcpproxy activity watch`: what is done, as it is done.
 *
 * Owns the way from events to entries. Invariants: each entry once, in order; what is printed is the entry that is
 * kept, so that its id can be looked up. Printing the events themselves was rejected: they have no arguments, no id, and
 * there is none for what was refused.
 */
import { oneLine } from "../lib/log.ts";
import { durationText, PAGE_ROWS, readPage } from "./activity_page.ts";
import type { ActivityRow } from "./activity_page.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { clockOf } from "./event_line.ts";
import { endOf, follow, pause } from "./follow.ts";
import { readWords } from "./help.ts";
import { dataLine, dataText } from "./output.ts";
import { styleOf } from "./style.ts";

/** The proxy writes entries in batches, so much later at the most. */
const WRITTEN_MS = 100;
/** What no event tells of is found so late. */
const REREAD_MS = 2_000;

/** Prints entries until the process is told to end. */
export async function watchActivity(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("activity watch", args);
  const { flags, values } = command;
  const signal = endOf(io);
  const server = textFlag(values["server"]);
  const tail = new Tail({ type: textFlag(values["type"]), server });
  await tail.begin(await findDaemon(flags, io));
  const print = (rows: readonly ActivityRow[]): void => {
    for (const row of rows) io.stdout(lineOf(row, { command, io }));
  };
  let api: ApiClient | undefined;
  let wake = Promise.withResolvers<void>();
  const reading = (async () => {
    while (!signal.aborted) {
      await Promise.race([wake.promise, pause(REREAD_MS, signal)]);
      wake = Promise.withResolvers<void>();
      await pause(WRITTEN_MS, signal);
      // A proxy that went away is waited for by the stream of events.
      if (api !== undefined) print(await tail.next(api).catch(() => []));
    }
  })();
  const find = async (): Promise<ApiClient> => {
    api = await findDaemon(flags, io);
    return api;
  };
  for await (const news of follow({ find, query: { servers: server }, signal })) {
    if (news.kind !== "lost") wake.resolve();
  }
  await reading;
  return 0;
}

/** The entries after those that are known. */
class Tail {
  readonly #filter: Readonly<Record<string, string | undefined>>;
  #last = 0;

  constructor(filter: Readonly<Record<string, string | undefined>>) {
    this.#filter = filter;
  }

  /** What is there already is not told. */
  async begin(api: ApiClient): Promise<void> {
    const { activities } = await readPage(api, { limit: 1 });
    this.#last = Number(activities[0]?.id ?? 0);
    // The filter may be one the proxy refuses.
    await readPage(api, { ...this.#filter, limit: 1 });
  }

  /** What came since, the earliest first. */
  async next(api: ApiClient): Promise<readonly ActivityRow[]> {
    const found: ActivityRow[] = [];
    let cursor: string | undefined;
    do {
      const page = await readPage(api, { ...this.#filter, limit: PAGE_ROWS, cursor });
      const fresh = page.activities.filter(({ id }) => Number(id) > this.#last);
      found.push(...fresh);
      cursor = fresh.length === page.activities.length ? page.next_cursor : undefined;
    } while (cursor !== undefined);
    this.#last = Math.max(this.#last, ...found.map(({ id }) => Number(id)));
    return found.toReversed();
  }
}

function lineOf(
  row: ActivityRow,
  { command, io }: { readonly command: ReadCommand; readonly io: CommandIo },
): string {
  const { format } = command.flags;
  if (format === "yaml") return `---\n${dataText(row, "yaml")}`;
  if (format === "json") return dataLine(row);
  const style = styleOf(io);
  const { server_name: server, tool_name: tool, status, error_message: message, type } = row;
  const paint = status === "success" ? style.green : status === "blocked" ? style.yellow : style.red;
  const what = [server, tool].filter((part) => typeof part === "string" && part !== "").join(":");
  return [
    style.dim(`[${clockOf(Date.parse(row.timestamp))}]`),
    `[${oneLine(row.source).toUpperCase()}]`,
    oneLine(type),
    style.bold(oneLine(what)),
    paint(oneLine(status)),
    durationText(row),
    oneLine(message ?? ""),
  ]
    .filter((part) => part !== "")
    .join(" ")
    .concat("\n");
}
