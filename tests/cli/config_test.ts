/**
 * `config`, and every other command, over a configuration that cannot be used: with the proxy that runs on the last good
 * text, and without.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../fixtures/wait.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { runLine } from "./run_line.ts";

const FIRST = `{
  "data_dir": "data",
  "tools_limit": 15,
  "mcpServers": [{ "name": "a", "url": "http://127.0.0.1:9/", "startup_mode": "disabled" }]
}
`;
const GOOD = FIRST.replace("15", "9");
const BROKEN = GOOD.replace('"data",', '"data"');
const PLACE = "3:3 'data_dir': Expected ',' between values";

/** A proxy on its second text, and the command line with nothing but the file's name. */
async function openTwice() {
  const live = await openLiveProxy(FIRST);
  await live.edit(GOOD);
  const env = { MCPPROXY_CONFIG: live.path };
  const run = (...args: readonly string[]) => runLine(args, { env, cwd: live.folder, home: live.folder });
  return { live, run, [Symbol.asyncDispose]: () => live[Symbol.asyncDispose]() };
}

test("a broken file that holds the data dir still leads to its proxy, and each command tells the fault", async () => {
  verifies("CONFIG-FAULT-PLACE");
  await using opened = await openTwice();
  const { live, run } = opened;
  expect((await run("status")).out).not.toContain("not in force");
  await live.edit(BROKEN);
  for (const args of [["status"], ["status", "-c", live.path]]) {
    const { code, out, err } = await run(...args);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(/^mcpproxy .*\nThe file as it stands is not in force: /);
    expect(out.split("\n")[1]).toContain(PLACE);
  }
  const json = JSON.parse((await run("status", "--json")).out) as { readonly config_error: string };
  expect(json.config_error).toContain(PLACE);
  const doctor = await run("doctor");
  expect([doctor.code, doctor.out]).toEqual([1, expect.stringContaining(PLACE) as string]);
  const disabled = await run("servers", "disable", "a");
  expect([disabled.code, disabled.err]).toEqual([4, expect.stringContaining(PLACE) as string]);
});

test("a broken file without a proxy of its own is exit 4 with the place, and leads to nobody else's", async () => {
  verifies("CONFIG-FAULT-PLACE", "CLI-EXIT-CODES");
  await using opened = await openTwice();
  using folder = tempDir();
  const path = join(folder.path, "c.json");
  const home = folder.path;
  for (const dataDir of ["nowhere", join(opened.live.folder, "data")]) {
    writeFileSync(path, BROKEN.replace('"data"', JSON.stringify(dataDir)));
    for (const line of [["status"], ["doctor"], ["servers", "disable", "a"]]) {
      const { code, err } = await runLine(line, { env: { MCPPROXY_CONFIG: path }, cwd: home, home });
      expect([line, code, err]).toEqual([line, 4, expect.stringContaining(PLACE) as string]);
    }
  }
});

test("config rollback replaces a broken file, and says where it is kept", async () => {
  verifies("CONFIG-ROLLBACK");
  await using opened = await openTwice();
  const { live, run } = opened;
  const { out } = await run("config", "history", "--json");
  const { revision, entries } = JSON.parse(out) as {
    readonly revision: number;
    readonly entries: readonly { readonly id: string }[];
  };
  const back = async (id: string): Promise<string> => {
    await live.edit(BROKEN);
    const { code, err } = await run("config", "rollback", id);
    expect([code, err]).toEqual([0, expect.stringContaining("conflict-") as string]);
    expect(readFileSync(/'(.*conflict-.*)'/.exec(err)?.[1] ?? "", "utf8")).toBe(BROKEN);
    return live.text();
  };
  // The text in force counts as kept, by its number.
  expect(await back(String(revision))).toBe(GOOD);
  expect(await back(entries[0]?.id ?? "")).toBe(FIRST);
  expect((await run("status")).out).not.toContain("not in force");
});

test("config diff ends with a line end, and prints nothing where nothing differs", async () => {
  await using opened = await openTwice();
  const { live, run } = opened;
  const ids = JSON.parse((await run("config", "history", "--json")).out) as {
    readonly entries: readonly { readonly id: string }[];
  };
  const id = ids.entries[0]?.id ?? "";
  expect((await run("config", "diff", id)).out).toMatch(/\n-.*15,\n\+.*9,\n[\s\S]*[^\n]\n$/);
  await live.edit(FIRST);
  expect((await run("config", "diff", id)).out).toBe("");
});

test("status and doctor tell which settings wait for a restart, until they are taken back", async () => {
  await using opened = await openTwice();
  const { live, run } = opened;
  await live.edit(GOOD.replace("{", '{ "listen": "127.0.0.1:1",'));
  expect((await run("status")).out).toMatch(/^mcpproxy .*\nWaits for a restart: listen\n/);
  const doctor = await run("doctor");
  expect([doctor.code, doctor.out]).toEqual([0, expect.stringContaining("RESTART_NEEDED") as string]);
  await live.edit(GOOD);
  expect((await run("status")).out).not.toContain("restart");
  expect((await run("doctor")).out).not.toContain("RESTART_NEEDED");
  const told = live.lines.filter((line) => line.includes("restart_required"));
  expect(told).toHaveLength(1);
});

test("without a proxy history, diff and rollback work on the data dir, also over a broken file", async () => {
  verifies("CLI-NO-DAEMON", "CONFIG-ROLLBACK", "APPROVAL-GATE");
  using folder = tempDir();
  const path = join(folder.path, "c.json");
  const at = { env: { MCPPROXY_CONFIG: path }, cwd: folder.path, home: folder.path };
  const run = (...args: readonly string[]) => runLine(args, at);
  writeFileSync(path, FIRST);
  expect((await run("upstream", "add", "b", "https://127.0.0.1:9/")).code).toBe(0);
  const history = await run("config", "history");
  expect([history.code, history.err]).toEqual([0, ""]);
  expect(history.out).toStartWith("No proxy runs; 1 earlier text kept\n");
  const [id = ""] = /config-\S+/.exec(history.out) ?? [];
  expect((await run("config", "diff", id)).out).toMatch(/^\+.*"b"/m);
  const back = async (): Promise<string> => {
    const { code, err } = await run("config", "rollback", id);
    expect([code, err]).toEqual([0, expect.stringContaining("The next start takes it up") as string]);
    expect(readFileSync(path, "utf8")).toBe(FIRST);
    return err;
  };
  expect(await back()).not.toContain("conflict-");
  const text = await run("config", "history", "--json");
  const { entries } = JSON.parse(text.out) as { readonly entries: readonly { readonly id: string }[] };
  expect(entries).toHaveLength(2);
  writeFileSync(path, BROKEN);
  expect((await run("config", "diff", id)).out).toMatch(/^\+.*"data"\n/m);
  expect(readFileSync(/'(.*conflict-.*)'/.exec(await back())?.[1] ?? "", "utf8")).toBe(BROKEN);
  // What is not known any more is held, as a proxy would: nobody approved it since.
  expect((await run("upstream", "remove", "a", "--yes")).code).toBe(0);
  writeFileSync(path, BROKEN);
  await back();
  const held = await run("upstream", "enable", "a");
  expect([held.code, held.err]).toEqual([1, expect.stringContaining("approve") as string]);
  writeFileSync(path, BROKEN);
  expect((await run("config", "rollback", id, "--approve")).code).toBe(0);
});

test("config rollback without a proxy brings back no text of another data dir over a file that names none it can read", async () => {
  using folder = tempDir();
  const [path, home] = [join(folder.path, "c.json"), folder.path];
  const at = { env: { MCPPROXY_CONFIG: path }, cwd: home, home };
  writeFileSync(path, FIRST);
  const added = await runLine(
    ["upstream", "add", "b", "https://127.0.0.1:9/", "-d", join(home, ".mcpproxy")],
    at,
  );
  expect(added.code).toBe(0);
  const broken = FIRST.replace('"data_dir"', "data_dir");
  writeFileSync(path, broken);
  const { out } = await runLine(["config", "history"], at);
  const back = await runLine(["config", "rollback", /config-\S+/.exec(out)?.[0] ?? ""], at);
  expect([back.code, back.err]).toEqual([4, expect.stringContaining("--data-dir") as string]);
  expect(readFileSync(path, "utf8")).toBe(broken);
});
