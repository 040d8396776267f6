/**
 * A live view: `--watch` of a list.
 *
 * Owns the way from events to a picture, or to lines where there is no terminal. Invariants: what a picture shows was
 * read from the API as a whole, never pieced together from events; reading is paced by how long it takes; a proxy that
 * goes away is said to be away, over the last picture, until it is back. A picture for each event was rejected: in a
 * storm nobody reads them, and the proxy has other things to do.
 */
import { toProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";
import { clockOf, eventLine } from "./event_line.ts";
import { endOf, follow, pause } from "./follow.ts";
import type { SeenEvent } from "./follow.ts";
import { Screen } from "./screen.ts";
import type { Picture } from "./screen.ts";
import { styleOf } from "./style.ts";

/** Between two readings at the least, and how many times as long as one took. */
const READ_MS = 250;
const READ_SHARE = 4;
/** Numbers that no event tells of, such as uptime. */
const REREAD_MS = 5_000;
const TICK_MS = 1_000;

/** What is watched. */
export interface View<Data> {
  /** Which events tell that it changed: `types`, `servers`, `groups` of the stream. */
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly read: (api: ApiClient) => Promise<Data>;
  /** Draws it; `now` is Unix milliseconds. */
  readonly draw: (
    data: Data,
    frame: { readonly columns: number; readonly rows: number; readonly now: number },
  ) => readonly string[];
  /** Whether an event is wanted as a line. @default all are */
  readonly isWanted?: (event: SeenEvent) => boolean;
}

/**
 * Watches until the process is told to end, which is a good end.
 *
 * @returns 0
 * @throws {ProxyError} `NOT_REACHABLE` when there is no proxy at the beginning, and what it refuses.
 */
export async function watch<Data>(
  view: View<Data>,
  { flags, io }: { readonly flags: GlobalFlags; readonly io: CommandIo },
): Promise<number> {
  const { terminal } = io;
  if (terminal === undefined || flags.isJson) return watchLines(view, { flags, io });
  const signal = endOf(io);
  const first = await findDaemon(flags, io);
  const live = new LiveView(view, { api: first, signal });
  await live.read();
  using screen = new Screen({ terminal, write: io.stdout });
  const style = styleOf(io);
  const show = (): void => screen.show(live.picture(style.dim, style.red));
  live.onChange = show;
  show();
  const ticking = setInterval(show, TICK_MS);
  try {
    const find = (): Promise<ApiClient> => findDaemon(flags, io);
    for await (const news of follow({ find: () => live.use(find), query: view.query, isKnown: true, signal }))
      live.take(news.kind);
    screen.show(live.still());
  } finally {
    clearInterval(ticking);
  }
  return 0;
}

/** A line for each change; JSON as the stream has it. */
async function watchLines<Data>(
  view: Pick<View<Data>, "query" | "isWanted">,
  {
    flags,
    io,
    since,
  }: { readonly flags: GlobalFlags; readonly io: CommandIo; readonly since?: string | undefined },
): Promise<number> {
  const style = styleOf(io);
  const { query, isWanted = () => true } = view;
  const find = (): Promise<ApiClient> => findDaemon(flags, io);
  let isLost = false;
  for await (const news of follow({ find, query, since, signal: endOf(io) })) {
    if (news.kind === "event") {
      if (isWanted(news.event)) {
        io.stdout(`${flags.isJson ? jsonLine(news.event) : eventLine(news.event, { style })}\n`);
      }
    } else if ((news.kind === "lost") !== isLost) {
      isLost = news.kind === "lost";
      io.stderr(isLost ? "The proxy went away; waiting for it\n" : "The proxy is back\n");
    }
  }
  return 0;
}

/** Prints events until the process is told to end. */
export function printEvents(options: {
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly since: string | undefined;
  readonly flags: GlobalFlags;
  readonly io: CommandIo;
}): Promise<number> {
  return watchLines({ query: options.query }, options);
}

function jsonLine(event: SeenEvent): string {
  // JSON leaves DEL and C1 as they are, which terminals obey.
  return JSON.stringify(event).replaceAll(
    /[\u007f-\u009f]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What is shown, kept up to date. */
class LiveView<Data> {
  onChange: () => void = () => {};
  readonly #view: View<Data>;
  readonly #signal: AbortSignal;
  #api: ApiClient;
  #data: Data | undefined;
  #failure: string | undefined;
  #isLost = false;
  #events = 0;
  #isDirty = false;
  #isReading = false;
  #readAt = 0;

  constructor(view: View<Data>, { api, signal }: { readonly api: ApiClient; readonly signal: AbortSignal }) {
    this.#view = view;
    this.#api = api;
    this.#signal = signal;
  }

  /** Finds the proxy, and reads from that one from now on. */
  async use(find: () => Promise<ApiClient>): Promise<ApiClient> {
    this.#api = await find();
    return this.#api;
  }

  /** Reads once. */
  async read(): Promise<void> {
    this.#data = await this.#view.read(this.#api);
    this.#readAt = Date.now();
  }

  /** Takes what the stream tells. */
  take(kind: "event" | "open" | "lost"): void {
    if (kind === "event") this.#events += 1;
    this.#isLost = kind === "lost";
    if (kind !== "lost") this.#refresh();
    this.onChange();
  }

  /** The view alone, as it is left behind. */
  still(): Picture {
    return ({ columns, rows }) =>
      this.#data === undefined ? [] : this.#view.draw(this.#data, { columns, rows, now: Date.now() });
  }

  /** The view, and below it whether it is live. */
  picture(dim: (text: string) => string, red: (text: string) => string): Picture {
    return ({ columns, rows }) => {
      if (Date.now() - this.#readAt > REREAD_MS && !this.#isLost) this.#refresh();
      const data = this.#data;
      const lines =
        data === undefined ? [] : this.#view.draw(data, { columns, rows: rows - 2, now: Date.now() });
      const foot = this.#isLost
        ? red(`The proxy went away; what is above is of ${clockOf(this.#readAt)}. Ctrl-C ends`)
        : this.#failure === undefined
          ? dim(`${clockOf(Date.now())}  live, ${this.#events} changes seen. Ctrl-C ends`)
          : red(oneLine(this.#failure));
      return [...lines.slice(0, Math.max(0, rows - 2)), "", foot];
    };
  }

  /** Reads soon; what is asked for while it reads is one more reading. */
  #refresh(): void {
    this.#isDirty = true;
    if (!this.#isReading) void this.#readOn();
  }

  async #readOn(): Promise<void> {
    this.#isReading = true;
    while (this.#isDirty && !this.#signal.aborted) {
      this.#isDirty = false;
      const began = performance.now();
      try {
        await this.read();
        this.#failure = undefined;
      } catch (error) {
        this.#failure = toProxyError(error).message;
        this.#readAt = Date.now();
      }
      this.onChange();
      await pause(Math.max(READ_MS, (performance.now() - began) * READ_SHARE), this.#signal);
    }
    this.#isReading = false;
  }
}
