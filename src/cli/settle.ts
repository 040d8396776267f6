/**
 * Waiting until servers stand.
 *
 * Owns `--wait`: when a server has come or failed, how that is told meanwhile, and when waiting ends. Invariants: where
 * there is no terminal nothing is told until the end; a server that is switched off is waited for by nobody. Waiting in
 * the API was rejected: a request that hangs for minutes is cut by something on its way.
 */
import { ProxyError } from "../core/errors.ts";
import { parseDuration } from "../lib/duration.ts";
import { oneLine } from "../lib/log.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, GlobalFlags, ReadCommand } from "./command.ts";
import { pause } from "./follow.ts";
import { countText } from "./output.ts";
import { styleOf } from "./style.ts";

const LOOK_MS = 250;
const DEFAULT_TIMEOUT_MS = 120_000;
const BAR_WIDTH = 20;
const CLEAR = "\r\u001b[K";

/** How long somebody waits. */
export interface Patience {
  readonly timeoutMs: number;
}

/** How a server stands, as far as waiting looks at it. */
export interface Standing {
  readonly name: string;
  readonly category: string;
  readonly connection_state: string;
  readonly since: string;
  readonly last_error: string;
}

/** Options of {@link settle}. */
export interface SettleOptions {
  readonly api: ApiClient;
  readonly flags: GlobalFlags;
  readonly io: CommandIo;
  readonly patience: Patience;
  /** How the servers stood before. */
  readonly before: ReadonlyMap<string, Standing>;
  /** Whether one that is connected has to be connected anew. */
  readonly isAnew: boolean;
}

/**
 * Reads `--wait` and `--timeout`; undefined when nobody waits.
 *
 * @throws {ProxyError} `USAGE`
 */
export function readPatience(values: ReadCommand["values"]): Patience | undefined {
  const text = textFlag(values["timeout"]);
  if (values["wait"] !== true) {
    if (text === undefined) return undefined;
    throw new ProxyError("USAGE", "Cannot use --timeout: nothing is waited for", { hint: "Add --wait" });
  }
  if (text === undefined) return { timeoutMs: DEFAULT_TIMEOUT_MS };
  const timeoutMs = parseDuration(text);
  if (timeoutMs !== undefined && timeoutMs > 0) return { timeoutMs };
  throw new ProxyError("USAGE", `Cannot read '${text}' as a time`, { hint: "Write it as in 90s or 2m" });
}

/** How servers stand, by name; those that are not there are left out. */
export async function standingsOf(
  api: ApiClient,
  names: readonly string[],
): Promise<ReadonlyMap<string, Standing>> {
  if (names.length === 0) return new Map();
  const wanted = new Set(names);
  const { data } = await api.get("/servers");
  const { servers } = data as { readonly servers: readonly Standing[] };
  return new Map(servers.filter(({ name }) => wanted.has(name)).map((server) => [server.name, server]));
}

/** Waits for servers; whether each is connected, or need not be. */
export async function settle(names: readonly string[], options: SettleOptions): Promise<boolean> {
  const { api, flags, io, patience } = options;
  const deadline = performance.now() + patience.timeoutMs;
  const end = new AbortController();
  let verdicts = judge(names, new Map(), options);
  try {
    for (;;) {
      verdicts = judge(names, await standingsOf(api, names), options);
      showProgress(verdicts, io);
      if (verdicts.pending.length === 0 || performance.now() >= deadline) break;
      await pause(LOOK_MS, end.signal);
    }
  } finally {
    if (io.terminal !== undefined) io.stderr(CLEAR);
  }
  const { ready, failed, pending } = verdicts;
  if (!flags.isJson) {
    io.stdout(
      `${countText(ready.length, "server")} connected${failed.length > 0 ? `, ${failed.length} failed` : ""}${
        pending.length > 0 ? `, ${pending.length} not yet` : ""
      }\n`,
    );
  }
  for (const { name, last_error: error } of failed)
    io.stderr(`${oneLine(`${name}: ${error || "failed"}`)}\n`);
  for (const name of pending) io.stderr(`${oneLine(`${name}: not connected in time`)}\n`);
  return failed.length + pending.length === 0;
}

interface Verdicts {
  readonly ready: readonly Standing[];
  readonly failed: readonly Standing[];
  /** Names. */
  readonly pending: readonly string[];
}

function judge(
  names: readonly string[],
  standings: ReadonlyMap<string, Standing>,
  { before, isAnew }: Pick<SettleOptions, "before" | "isAnew">,
): Verdicts {
  const ready: Standing[] = [];
  const failed: Standing[] = [];
  const pending: string[] = [];
  for (const name of names) {
    const now = standings.get(name);
    // A failure of before says nothing of what was asked for.
    const isOld = now?.since === before.get(name)?.since && (isAnew || now?.connection_state === "error");
    if (now === undefined || isOld) pending.push(name);
    else if (now.category === "disconnected" && now.connection_state === "error") failed.push(now);
    else if (now.category === "disconnected") pending.push(name);
    else if (now.category === "auto_disabled") failed.push(now);
    else ready.push(now);
  }
  return { ready, failed, pending };
}

function showProgress({ ready, failed, pending }: Verdicts, io: CommandIo): void {
  if (io.terminal === undefined) return;
  const style = styleOf(io);
  const all = ready.length + failed.length + pending.length;
  const filled = all === 0 ? BAR_WIDTH : Math.round(((all - pending.length) / all) * BAR_WIDTH);
  const bar = `${"█".repeat(filled)}${style.dim("░".repeat(BAR_WIDTH - filled))}`;
  const bad = failed.length > 0 ? `, ${style.red(`${failed.length} failed`)}` : "";
  io.stderr(`${CLEAR}${bar} ${ready.length} of ${all} connected${bad}`);
}
