/**
 * A configuration in which every server can be switched and all are in one group, open as the proxy has it but for
 * connections.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { openConfiguration } from "../../tests/e2e/config_driver.ts";

/** The group all are in. */
export const GROUP = 1;

/** Its text. */
export function switchableText(servers: number): string {
  return makeRealisticConfig({ servers })
    .replaceAll(/"startup_mode": "\w+"/g, '"startup_mode": "active"')
    .replaceAll(/"group_id": \d+/g, `"group_id": ${GROUP}`);
}

/** Opens it in a folder. */
export async function openSwitchable(folder: string, text: string) {
  const path = join(folder, "mcp_config.json");
  writeFileSync(path, text);
  return openConfiguration(path, join(folder, "data"));
}
