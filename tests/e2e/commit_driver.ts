/**
 * The commit engine as a process of its own, for tests that kill it or spoil its system calls.
 *
 * Owns a small protocol on stdin and stdout, one JSON line each way: `ready` with what was found, then for
 * each `commit` an answer with what is served. Run: `bun tests/e2e/commit_driver.ts CONFIG DATA_DIR`; it ends
 * with its stdin. With `--fill` as last argument the write-ahead log is full before it is ready, so that the
 * next commit empties it.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { Store } from "../../src/state/store.ts";

/** One page of the write-ahead log with its header; past 1,000 of them SQLite copies it into the database. */
const LOG_PAGE_BYTES = 4_120;

/** What the driver answers, and what it says at the start. */
export interface DriverAnswer {
  readonly ok: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly warning?: string;
  readonly isDegraded: boolean;
  readonly revision: number;
  /** The text it serves. */
  readonly text: string;
  /** What its database says of the server `s`. */
  readonly definitionHash: string | undefined;
}

/** What is asked of it. */
export interface DriverRequest {
  readonly text: string;
  /** Becomes the definition hash of the server `s`. */
  readonly definitionHash: string;
}

async function drive(path: string, dataDir: string, isFilled: boolean): Promise<void> {
  await using store = Store.open({ dataDir, log: SILENT_LOG });
  if (isFilled) fill(store, join(dataDir, "mcpproxy.db-wal"));
  await using commit = ConfigCommit.open({ path, store, dataDir, log: SILENT_LOG });
  const answer = (rest: Pick<DriverAnswer, "ok"> & Partial<DriverAnswer>): void => {
    const { revision, text, isDegraded } = commit;
    const { definitionHash } = store.findServer("s") ?? {};
    process.stdout.write(`${JSON.stringify({ ...rest, isDegraded, revision, text, definitionHash })}\n`);
  };
  answer({ ok: true });
  for await (const line of console) {
    if (line === "") continue;
    const { text, definitionHash } = JSON.parse(line) as DriverRequest;
    try {
      const defined = [["s", definitionHash]] as const;
      const { warning } = commit.commit({ text, effects: { defined, approved: defined }, summary: "test" });
      answer({ ok: true, ...(warning === undefined ? {} : { warning }) });
    } catch (error) {
      const { code, message } = error as Error & { readonly code?: string };
      answer({ ok: false, ...(code === undefined ? {} : { code }), message });
    }
  }
}

function fill(store: Store, log: string): void {
  for (let row = 0; statSync(log).size < 996 * LOG_PAGE_BYTES; row += 1) {
    const definition = "x".repeat(3_000);
    store.saveTools(`filler-${row}`, [{ server: `filler-${row}`, name: "t", definition, fingerprint: "f" }]);
    store.flush();
  }
}

if (import.meta.main) {
  const [path = "", dataDir = "", last] = process.argv.slice(2);
  await drive(path, dataDir, last === "--fill");
}
