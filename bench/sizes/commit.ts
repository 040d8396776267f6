/** One server's change committed to a file of N servers, beside a bare durable write of the same text. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { Store } from "../../src/state/store.ts";
import { writeBare } from "../../src/scale/bare_write.ts";
import type { OpenPair } from "./pair.ts";

export const openCommit: OpenPair = async ({ size, folder }) => {
  const [path, dataDir] = [join(folder, "conf", "c.json"), join(folder, "data")];
  for (const name of ["conf", "bare"]) mkdirSync(join(folder, name));
  const text = makeRealisticConfig({ servers: size });
  writeFileSync(path, text);
  const store = Store.open({ dataDir, log: SILENT_LOG });
  const commit = ConfigCommit.open({ path, dataDir, store, log: SILENT_LOG });
  let number = 15;
  /** Another text each time. */
  const next = (): string => text.replace('"tools_limit": 15', `"tools_limit": ${(number += 1)}`);
  return {
    ours: () => {
      const effects = { defined: [[`server-${number % size}`, `h${number}`]] } as const;
      const { warning } = commit.commit({ text: next(), effects, summary: "bench" });
      if (warning !== undefined) throw new Error(warning);
    },
    baseline: () => writeBare(join(folder, "bare", "c.json"), next()),
    [Symbol.asyncDispose]: async () => {
      await commit.close();
      await store.close();
    },
  };
};
