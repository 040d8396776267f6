/**
 * What is known of N servers, read from a running store beside a copy of a map, and from an opened data dir beside the same
 * rows out of a bare database.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { Store } from "../../src/state/store.ts";
import type { OpenPair } from "./pair.ts";

export const openRead: OpenPair = async ({ size, folder }) => {
  const store = await fill(folder, size);
  const names = store.serverNames();
  const known = new Map(names.map((name) => [name, store.findServer(name)]));
  return {
    ours: () => names.map((name) => store.findServer(name)),
    baseline: () => new Map(known),
    [Symbol.asyncDispose]: () => store.close(),
  };
};

export const openColdRead: OpenPair = async ({ size, folder }) => {
  await (await fill(folder, size)).close();
  return {
    ours: async () => {
      await using store = Store.open({ dataDir: folder, log: SILENT_LOG });
      if (store.serverNames().length !== size) throw new Error("Some servers are not known");
    },
    baseline: () => {
      using db = new Database(join(folder, "mcpproxy.db"), { readonly: true });
      const rows = db.query("select * from servers").all() as { readonly name: string }[];
      return new Map(rows.map((row) => [row.name, row]));
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

async function fill(dataDir: string, size: number): Promise<Store> {
  const store = Store.open({ dataDir, log: SILENT_LOG });
  for (let at = 0; at < size; at += 1) {
    const hash = Bun.hash(`${at}`).toString(16).repeat(4);
    const learned = { everConnected: true, connectedAt: at, connectMs: at % 900, toolCount: at % 30 };
    store.rememberServer(`server-${at}`, { ...learned, definitionHash: hash, approvedHash: hash });
  }
  store.flush();
  return store;
}
