/**
 * A group of N servers switched as one durable change, with plan, commit and every server's move; beside as many entries of a
 * parsed object changed, and the file written durably once.
 */
import { join } from "node:path";
import { writeBare } from "../../src/scale/bare_write.ts";
import type { OpenPair } from "./pair.ts";
import { GROUP, openSwitchable, switchableText } from "./switched.ts";

export const openGroup: OpenPair = async ({ size, folder }) => {
  const text = switchableText(size);
  const opened = await openSwitchable(folder, text);
  const parsed = JSON.parse(text) as { readonly mcpServers: { startup_mode: string }[] };
  let [isOn, isBareOn] = [true, true];
  return {
    ours: async () => {
      const action = isOn ? "disable" : "enable";
      isOn = !isOn;
      const { updated } = await opened.batches.run({ action, selection: { group: GROUP } });
      if (updated !== size) throw new Error(`Of ${size} servers ${updated} were switched`);
    },
    baseline: () => {
      isBareOn = !isBareOn;
      for (const entry of parsed.mcpServers) entry.startup_mode = isBareOn ? "active" : "disabled";
      writeBare(join(folder, "bare.json"), `${JSON.stringify(parsed, null, 2)}\n`);
    },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
};
