/**
 * The text in force, put back over one that cannot be used.
 *
 * Owns the file alone: to journal and revisions this text never went away. Invariants: the path holds one whole text at
 * every instant; the displaced text is kept before it goes, and so is what an editor still writes into it; nothing is done
 * where a person saves at that moment. Committing over the broken text was rejected: it would be in the history as a good one.
 */
import { dirname } from "node:path";
import { messageOf, ProxyError } from "../core/errors.ts";
import { syncFolder } from "../lib/atomic_file.ts";
import { readConfigBytes, resolveLink } from "./config_file.ts";
import type { ConfigHistory } from "./config_history.ts";
import { LateLooks, Overtaken, Replacement } from "./config_swap.ts";

/** What {@link restoreConfig} works with. */
export interface RestoreOptions {
  /** Of the configuration file; links are followed. */
  readonly path: string;
  /** The text in force. */
  readonly text: string;
  readonly history: ConfigHistory;
}

/**
 * Replaces what lies at the path.
 *
 * @returns where the displaced text is kept
 * @throws {ProxyError} `CONFIG_UNREADABLE`; `CONFIG_CONFLICT` when it was saved at the same moment; `CONFIG_UNWRITABLE`
 */
export function restoreConfig({ path, text, history }: RestoreOptions): string {
  const before = readConfigBytes(path);
  const keep = (bytes: Uint8Array): string => history.keepConflict(bytes);
  const looks = new LateLooks(keep);
  try {
    const real = resolveLink(path);
    const kept = keep(before);
    const look = (file: number, found: Uint8Array): void => looks.add(file, found);
    const replacement = new Replacement({ path: real, before, after: Buffer.from(text), keep, look });
    replacement.run();
    syncFolder(dirname(real));
    const file = replacement.finish();
    if (file !== undefined) look(file, before);
    return kept;
  } catch (error) {
    const what = `Cannot write configuration '${path}': ${messageOf(error)}`;
    if (error instanceof Overtaken) throw new ProxyError("CONFIG_CONFLICT", what, { hint: "Try again" });
    const hint = "Check the disk, and the folders of the file and of the data dir";
    throw new ProxyError("CONFIG_UNWRITABLE", what, { data: { path }, hint, cause: error });
  }
}
