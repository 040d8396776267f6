/** Reading, checking and understanding a configuration of N servers, beside parsing the same file as JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { loadConfig } from "../../src/state/config.ts";
import type { OpenPair } from "./pair.ts";

export const openLoad: OpenPair = async ({ size, folder }) => {
  const path = join(folder, "mcp_config.json");
  writeFileSync(path, makeRealisticConfig({ servers: size }));
  const options = { path, env: {}, cwd: folder, home: folder };
  const { servers } = await loadConfig(options);
  if (servers.length !== size) throw new Error(`Of ${size} servers ${servers.length} were read`);
  return {
    ours: () => loadConfig(options),
    baseline: () => JSON.parse(readFileSync(path, "utf8")) as unknown,
    [Symbol.asyncDispose]: async () => {},
  };
};
