/**
 * Completion: what is offered for a line of words, and that the scripts of the shells are ones.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands.ts";
import { nouns, readFlag, verbsOf } from "../../src/cli/help.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { tempDir } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { MAIN } from "./fixtures.ts";
import { runLine } from "./run_line.ts";

let upstream: ToolUpstream;
let proxy: LiveProxy;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("echo"), makeDefinition("empty")]);
  proxy = await openLiveProxy({
    groups: [{ id: 1, name: "My Work" }],
    mcpServers: [
      { name: "git hub", protocol: "http", url: upstream.url },
      { name: "gitlab", protocol: "http", url: upstream.url, startup_mode: "disabled" },
      { name: "slack", protocol: "http", url: upstream.url, startup_mode: "disabled" },
    ],
  });
  await proxy.untilReady("git hub");
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** What is offered for the last word, the proxy's data dir being named. */
async function offers(words: readonly string[]): Promise<readonly string[]> {
  const place = ["-d", join(proxy.folder, "data")];
  const { code, out, err } = await runLine(["completion", "words", "--", ...place, ...words], {
    cwd: proxy.folder,
    home: proxy.folder,
  });
  expect([code, err]).toEqual([0, ""]);
  return out.split("\n").filter((line) => line !== "");
}

const wordsOf = (lines: readonly string[]): readonly string[] =>
  lines.map((line) => line.split("\t")[0] ?? "");

test("all commands are offered, the verbs of each, and all its flags, with what they are for", async () => {
  verifies("CLI-COMPLETION");
  expect(wordsOf(await offers([""]))).toEqual(nouns());
  for (const noun of nouns()) {
    const verbs = verbsOf(noun);
    if (verbs.length > 0) expect(wordsOf(await offers([noun, ""]))).toEqual(verbs);
  }
  for (const [name, row] of Object.entries(COMMANDS)) {
    const lines = await offers([...name.split(" "), "--"]);
    for (const { name: flag, text } of (row.flags ?? []).map(readFlag))
      expect(lines).toContain(`--${flag}\t${text}`);
    expect(wordsOf(lines)).toContain("--json");
  }
});

test.each<[string, string[], string[]]>([
  ["verbs that begin so", ["servers", "en"], ["enable"]],
  ["verbs behind a flag with a value", ["servers", "-o", "json", "ren"], ["rename"]],
  ["servers of the proxy", ["servers", "show", "git"], ["git hub", "gitlab"]],
  ["further servers", ["servers", "enable", "slack", "gitl"], ["gitlab"]],
  ["one server where one is taken", ["servers", "show", "slack", "g"], []],
  ["groups by their slug", ["groups", "enable", ""], ["my-work"]],
  ["servers behind a group", ["groups", "assign", "my-work", "sl"], ["slack"]],
  ["groups as a value", ["servers", "list", "--group", ""], ["my-work"]],
  ["groups as the value of a letter", ["servers", "list", "-g", "m"], ["my-work"]],
  ["tools", ["tools", "call", "git hub:e"], ["git hub:echo", "git hub:empty"]],
  ["values there are", ["servers", "list", "--category", "dis"], ["disconnected", "disabled"]],
  ["values behind a comma", ["servers", "list", "--category", "sleeping,qu"], ["sleeping,quarantined"]],
  ["values behind an equals sign", ["servers", "list", "--category=co"], ["--category=connected"]],
  [
    "values behind a comma there",
    ["servers", "list", "--category=sleeping,qu"],
    ["--category=sleeping,quarantined"],
  ],
  ["files behind an equals sign", ["status", "--config="], [":files"]],
  ["types of events", ["events", "--types", "tool_called,config_i"], ["tool_called,config_invalid"]],
  ["formats", ["status", "-o", ""], ["table", "json", "yaml"]],
  ["files, by the shell", ["config", "check", ""], [":files"]],
  ["files for a flag", ["status", "-c", ""], [":files"]],
  ["files behind --", ["servers", "add", "x", "--", "n"], [":files"]],
  ["nothing for a command there is not", ["dance", "x", ""], []],
  ["nothing for a value nobody knows", ["servers", "list", "--limit", ""], []],
])("%s are offered", async (_, words, expected) => {
  verifies("CLI-COMPLETION");
  const found = wordsOf(await offers(words));
  expect(found.toSorted()).toEqual(expected.toSorted());
});

test("without a proxy there are no names, and no error either", async () => {
  verifies("CLI-COMPLETION");
  using folder = tempDir();
  const parts = { cwd: folder.path, home: folder.path };
  expect(await runLine(["completion", "words", "--", "servers", "show", ""], parts)).toEqual({
    code: 0,
    out: "",
    err: "",
  });
  const other = await runLine(["completion", "words", "--", "-c", "/nonexistent", "servers", "li"], parts);
  expect([other.code, other.out]).toEqual([0, expect.stringMatching(/^list\t/) as string]);
});

/** Shells that are here; a script is also looked at where its shell is not. */
const SHELLS = ["bash", "zsh", "fish"] as const;

test.each(SHELLS)("the script for %s is one its shell reads, and asks this program", async (shell) => {
  verifies("CLI-COMPLETION");
  const { code, out } = await runLine(["completion", shell]);
  expect(code).toBe(0);
  expect(out).toContain("completion words --");
  expect(out).toMatch(/mcpproxy/);
  const program = Bun.which(shell);
  if (program === null) return;
  const child = Bun.spawn([program, "-n"], { stdin: new Blob([out]), stdout: "pipe", stderr: "pipe" });
  expect([await child.exited, await new Response(child.stderr).text()]).toEqual([0, ""]);
});

test.each<[string, string, string[]]>([
  ["a blank behind a backslash", "git\\ hub:e", ["git hub:echo", "git hub:empty"]],
  ["a quote that is open", "'git hub:ec", ["git hub:echo"]],
  ["a double quote that is open", '"git hub:ec', ["git hub:echo"]],
  ["quotes within a word", `git' 'hub:"ec"`, ["git hub:echo"]],
  ["what a shell would run, as it stands", "$(git\\ hub:", []],
])("%s is understood as the shell would", async (_, typed, expected) => {
  verifies("CLI-COMPLETION");
  const line = ["-d", join(proxy.folder, "data"), "tools", "call", typed];
  const { out } = await runLine(["completion", "words", "--quoted", "--", ...line], {
    cwd: proxy.folder,
    home: proxy.folder,
  });
  expect(wordsOf(out.split("\n")).filter((word) => word !== "")).toEqual(expected);
});

/** What is typed behind the program, where bash parts it, and what it gets to put in place of the last part. */
test.each<[string, string[], string[]]>([
  ["servers show git", ["servers", "show", "git"], ["git\\ hub", "gitlab"]],
  ["tools call git\\ hub:e", ["tools", "call", "git\\ hub", ":", "e"], ["echo", "empty"]],
  ["tools call 'git hub:e", ["tools", "call", "'git hub:e"], ["git hub:echo", "git hub:empty"]],
  ["servers list --category=con", ["servers", "list", "--category", "=", "con"], ["connected"]],
  ["servers show   sla", ["servers", "show", "sla"], ["slack"]],
])("bash offers what fits behind '%s', quoted as it wants it", async (typed, parts, expected) => {
  verifies("CLI-COMPLETION");
  const bash = Bun.which("bash");
  if (bash === null) return;
  using folder = tempDir();
  const program = join(folder.path, "mcpproxy");
  await Bun.write(program, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  chmodSync(program, 0o755);
  const before = [program, "-d", join(proxy.folder, "data")];
  const line = [...before, typed].join(" ");
  const script = `
    source <('${program}' completion bash)
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    COMP_LINE=$0; COMP_POINT=\${#COMP_LINE}
    _mcpproxy; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const child = Bun.spawn([bash, "--norc", "-c", script, line, ...before, ...parts], {
    stdout: "pipe",
    stderr: "pipe",
    cwd: folder.path,
    env: { PATH: process.env["PATH"], HOME: folder.path, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
  });
  expect(await new Response(child.stdout).text()).toBe(`${expected.join("\n")}\n`);
});
