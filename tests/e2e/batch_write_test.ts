/**
 * A batch of changes is one write.
 *
 * Owns counting, by system calls and events, what 159 switched servers cost: the process with the configuration is traced while it answers.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { tempDir } from "../fixtures/wait.ts";
import { ConfigProcess } from "./config_process.ts";
import { attach, hasStrace } from "./strace.ts";
import { verifies } from "../requirements.ts";

const SERVERS = 159;
const TIMEOUT_MS = 30_000;

/** A process with `text` as its configuration. */
async function openProcess(root: string, text: string): Promise<ConfigProcess> {
  for (const name of ["conf", "data"]) mkdirSync(join(root, name));
  writeFileSync(configAt(root), text, { mode: 0o600 });
  const opened = new ConfigProcess(configAt(root), join(root, "data"));
  await opened.next();
  return opened;
}

function configAt(root: string): string {
  return join(root, "conf", "c.json");
}

const TEXT = makeRealisticConfig({ servers: SERVERS }).replaceAll(
  /"startup_mode": "\w+"/g,
  '"startup_mode": "active"',
);
const NAMES = (
  JSON.parse(TEXT) as { readonly mcpServers: readonly { readonly name: string }[] }
).mcpServers.map(({ name }) => name);

test.skipIf(!hasStrace)(
  "Batches.run() of 159 servers writes the file once: one intent, one temp file, one fsync each, one exchange",
  async () => {
    verifies("BATCH-ONE-WRITE");
    using folder = tempDir();
    await using driver = await openProcess(folder.path, TEXT);
    // The backup of the first change is not what is counted.
    await driver.ask({ ask: "batch", action: "disable", names: NAMES.slice(0, 1) });
    const before = await driver.ask({ ask: "batch", action: "enable", names: NAMES.slice(0, 1) });
    const tracer = await attach(driver.pid, {
      output: join(folder.path, "trace"),
      trace: "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,unlink",
    });
    const after = await driver.ask({ ask: "batch", action: "disable", names: NAMES });
    const calls = await tracer.detach();

    expect(after.ok).toBe(true);
    expect(after.journal.ids.length).toBe(before.journal.ids.length + 1);
    expect(after.journal.pending).toBe(0);
    const conf = join(folder.path, "conf");
    const count = (name: string, form: RegExp): number =>
      calls.filter((call) => call.name === name && form.test(call.args)).length;
    const temp = /mcpproxy-tmp/;
    expect({
      made: count("openat", /mcpproxy-tmp", [^,]*O_CREAT/),
      written: count("write", temp),
      synced: count("fsync", temp),
      folder: calls.filter(({ name, args }) => name === "fsync" && args.includes(`<${conf}>`)).length,
      swapped: count("renameat2", temp) + count("rename", /c\.json"$/),
      others: calls.filter(({ name, args }) => /^(?:rename|link)/.test(name) && !temp.test(args)).length,
    }).toEqual({ made: 1, written: 1, synced: 1, folder: 1, swapped: 1, others: 0 });
    // The intent before the swap, its end with all rows after it.
    const swap = calls.findIndex(({ name }) => name === "renameat2" || name === "rename");
    const syncs = calls.flatMap(({ name, args }, at) =>
      name === "fsync" && args.includes("mcpproxy.db-wal") ? [at < swap] : [],
    );
    expect(syncs).toEqual([true, false]);
    expect(readFileSync(configAt(folder.path), "utf8").match(/"startup_mode": "disabled"/g)?.length).toBe(
      SERVERS,
    );
  },
  TIMEOUT_MS,
);

test(
  "Batches.run() of 159 servers tells each move once, the group once and the commit once",
  async () => {
    using folder = tempDir();
    const held = NAMES.slice(10, 14);
    const text = NAMES.reduce(
      (all, name) =>
        held.includes(name)
          ? all.replace(
              new RegExp(`("name": ${escape(JSON.stringify(name))},.*?"startup_mode": ")active`, "s"),
              "$1quarantined",
            )
          : all,
      TEXT,
    );
    await using driver = await openProcess(folder.path, text);
    const unknown = Array.from({ length: 7 }, (_, at) => `unknown ${at}`);
    const reply = await driver.ask({ ask: "batch", action: "disable", names: [...NAMES, ...unknown] });
    const codes = reply.refused?.map(([, code]) => code).toSorted();
    expect(codes).toEqual([
      ...Array.from({ length: 4 }, () => "QUARANTINED"),
      ...Array.from({ length: 7 }, () => "SERVER_UNKNOWN"),
    ]);
    const {
      server_state_changed: moves,
      server_group_updated: groups,
      config_committed: commits,
    } = reply.events;
    expect({ moves, groups, commits }).toEqual({ moves: SERVERS - 4, groups: 1, commits: 1 });
    expect(reply.servers.filter(({ mode }) => mode === "quarantined").map(({ name }) => name)).toEqual(held);
    const again = await driver.ask({ ask: "batch", action: "enable", names: NAMES });
    expect(again.events["server_state_changed"]).toBe(SERVERS - 4);
  },
  TIMEOUT_MS,
);

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
