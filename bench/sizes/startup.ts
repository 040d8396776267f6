/**
 * From files to a search over the known tools of N servers, three each: configuration, database, catalog and index; beside
 * the same file parsed and the same rows selected.
 */
import { Database } from "bun:sqlite";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Catalog } from "../../src/catalog/catalog.ts";
import { fingerprintOf } from "../../src/catalog/fingerprint.ts";
import { Intake } from "../../src/catalog/intake.ts";
import { SearchIndex } from "../../src/catalog/search.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { loadConfig } from "../../src/state/config.ts";
import { Store } from "../../src/state/store.ts";
import { makeTools } from "./tools.ts";
import type { OpenPair } from "./pair.ts";

const TOOLS = 3;

export const openStartup: OpenPair = async ({ size, folder }) => {
  const [path, dataDir] = [join(folder, "mcp_config.json"), join(folder, "data")];
  writeFileSync(path, makeRealisticConfig({ servers: size }));
  const options = { path, env: {}, cwd: folder, home: folder };
  const { servers } = await loadConfig(options);
  await fill(
    dataDir,
    servers.map(({ name }) => name),
  );
  return {
    ours: async () => {
      const config = await loadConfig(options);
      await using store = Store.open({ dataDir, log: SILENT_LOG });
      const [catalog, index] = [new Catalog(), new SearchIndex()];
      const intake = new Intake({ catalog, index, store, log: SILENT_LOG });
      await intake.restore(new Set(config.servers.map(({ name }) => name)));
      if (index.size !== size * TOOLS) throw new Error(`${index.size} tools can be found`);
    },
    baseline: () => {
      using db = new Database(join(dataDir, "mcpproxy.db"), { readonly: true });
      const rows = ["servers", "tools"].map((table) => db.query(`select * from ${table}`).all());
      return { config: JSON.parse(readFileSync(path, "utf8")) as unknown, rows };
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

async function fill(dataDir: string, names: readonly string[]): Promise<void> {
  await using store = Store.open({ dataDir, log: SILENT_LOG });
  const tools = makeTools(names.length * TOOLS);
  for (const [at, server] of names.entries()) {
    store.rememberServer(server, { everConnected: true, toolCount: TOOLS });
    const own = tools.slice(at * TOOLS, (at + 1) * TOOLS);
    store.saveTools(
      server,
      own.map(({ name, definition }) => {
        const text = JSON.stringify(definition);
        return { server, name, definition: text, fingerprint: fingerprintOf(definition) };
      }),
    );
  }
}
