/**
 * `enhance_path` in a whole proxy: a program only the login shell knows is found, and start waits for no shell.
 */
import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serveHttp } from "../fixtures/http_server.ts";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openLiveProxy } from "./live_proxy.ts";

function scriptIn(folder: string, name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

test("enhance_path finds a program that only the login shell knows", async () => {
  verifies("LOGIN-PATH");
  using folder = tempDir();
  const bin = join(folder.path, "bin");
  mkdirSync(bin);
  scriptIn(bin, "odd-server", `exec '${process.execPath}' '${STDIO_SERVER}'`);
  const SHELL = scriptIn(folder.path, "shell", `echo hello; PATH='${bin}':"$PATH"; eval "$2"`);
  const mcpServers = [{ name: "odd", command: "odd-server" }];
  await using proxy = await openLiveProxy(
    { environment: { enhance_path: true }, mcpServers },
    { env: { SHELL } },
  );
  await proxy.untilReady("odd");
  await using plain = await openLiveProxy({ mcpServers }, { env: { SHELL } });
  expect(await plain.server("odd")).toMatchObject({ status: "error", failure_class: "config" });
});

test("a login shell that hangs holds up neither the start nor a server that needs no PATH", async () => {
  verifies("LOGIN-PATH");
  using folder = tempDir();
  await using upstream = serveHttp();
  const SHELL = scriptIn(folder.path, "shell", "exec sleep 47110816");
  const config = {
    environment: { enhance_path: true },
    mcpServers: [
      { name: "web", url: upstream.url },
      { name: "late", command: "true" },
    ],
  };
  const opening = openLiveProxy(config, { env: { SHELL } });
  await waitFor("the upstream was reached", () => upstream.seen.length > 0);
  await waitFor("the shell was asked", () => processesWith("47110816").length === 1);
  await using proxy = await opening;
  await proxy.untilReady("web");
  await waitFor("the shell was ended", () => processesWith("47110816").length === 0, 10_000);
}, 20_000);
