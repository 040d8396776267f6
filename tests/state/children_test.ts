/**
 * The journal of children and the sweep: what a killed run left is ended, and nothing else.
 */
import { expect, test } from "bun:test";
import { Children } from "../../src/state/children.ts";
import { Store } from "../../src/state/store.ts";
import type { StoredChild } from "../../src/state/store.ts";
import { birthOf } from "../../src/lib/process_group.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { liveMembers, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const STUBBORN = "trap '' TERM; while :; do sleep 1; done";
const KILLED = "killed-run";

interface Scene extends AsyncDisposable {
  readonly store: Store;
  readonly children: Children;
  readonly told: string[];
  /** Starts a script in a group of its own, with the mark of a run. */
  readonly start: (script: string, mark?: string) => number;
}

function openScene(): Scene {
  const folder = tempDir();
  const store = Store.open({ dataDir: folder.path, log: SILENT_LOG });
  const told: string[] = [];
  const guard = {
    added: (pgid: number) => void told.push(`+${pgid}`),
    removed: (pgid: number) => void told.push(`-${pgid}`),
    close: async () => {},
  };
  const started: Bun.Subprocess[] = [];
  return {
    store,
    children: new Children({ store, guard, log: SILENT_LOG }),
    told,
    start: (script, mark = KILLED) => {
      const env = { PATH: process.env["PATH"] ?? "", MCPPROXY_CHILD_OF: mark };
      const child = Bun.spawn(["sh", "-c", script], {
        detached: true,
        env,
        stdio: ["ignore", "ignore", "ignore"],
      });
      started.push(child);
      return child.pid;
    },
    [Symbol.asyncDispose]: async () => {
      for (const { pid } of started) for (const member of liveMembers(pid)) process.kill(member, "SIGKILL");
      await Promise.all(started.map((child) => child.exited));
      await store.close();
      folder[Symbol.dispose]();
    },
  };
}

function row(pid: number, parts: Partial<StoredChild> = {}): StoredChild {
  return { pid, pgid: pid, born: birthOf(pid) ?? "", instance: KILLED, server: "s", ...parts };
}

test("Children.added() tells the guard at once and the journal within a batch; removed() takes it out", async () => {
  await using scene = openScene();
  const { children, store, told } = scene;
  const pid = scene.start("exec sleep 60");
  children.added({ pid, name: "one" });
  expect(told).toEqual([`+${pid}`]);
  await waitFor("it is written down", () => store.readChildren().length === 1, 1_000);
  expect(store.readChildren()).toEqual([row(pid, { instance: children.instance, server: "one" })]);
  expect(store.readChildren()[0]?.born).toMatch(/^[\da-f-]{36}\/\d+$/);
  expect(await children.sweep()).toEqual([]);
  expect(liveMembers(pid)).toEqual([pid]);
  children.removed(pid);
  store.flush();
  expect(store.readChildren()).toEqual([]);
  expect(told).toEqual([`+${pid}`, `-${pid}`]);
});

test("Children.sweep() ends what is surely ours, in bounded time, and forgets the rest", async () => {
  verifies("SWEEP-AT-START");
  await using scene = openScene();
  const { children, store } = scene;
  const byBirth = scene.start(STUBBORN, "an environment that was cleared");
  // Its leader has left: only the mark says whose the rest is.
  const byMark = scene.start("(trap '' TERM; while :; do sleep 1; done) & exit 0");
  const calm = scene.start("exec sleep 60");
  await waitFor("all run", () => [byBirth, byMark, calm].every((pid) => liveMembers(pid).length > 0));
  store.addChild(row(byBirth, { server: "birth" }));
  store.addChild(row(byMark, { server: "mark" }));
  store.addChild(row(calm, { server: "calm" }));
  store.addChild(row(2_000_000_001, { server: "gone", born: "" }));
  store.flush();
  const startedAt = performance.now();
  expect((await children.sweep()).toSorted()).toEqual(["birth", "calm", "mark"]);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect([byBirth, byMark, calm].flatMap(liveMembers)).toEqual([]);
  store.flush();
  expect(store.readChildren()).toEqual([]);
});

test("Children.sweep() leaves a process alone whose number only is the same", async () => {
  verifies("SWEEP-AT-START");
  await using scene = openScene();
  const { children, store } = scene;
  const later = scene.start("exec sleep 60", "another run");
  const rebooted = scene.start("exec sleep 60", "another run");
  const unmarked = scene.start("(sleep 60; :) & exit 0", "another run");
  const unknown = scene.start("exec sleep 60", "another run");
  const all = [later, rebooted, unmarked, unknown];
  await waitFor("all run", () => all.every((pid) => liveMembers(pid).length > 0));
  store.addChild(row(later, { born: (birthOf(later) ?? "").replace(/\d+$/, "1") }));
  store.addChild(row(rebooted, { born: (birthOf(rebooted) ?? "").replace(/^[^/]*/, "another-boot") }));
  store.addChild(row(unmarked, { born: "" }));
  store.addChild(row(unknown, { born: "" }));
  store.addChild(row(1, { born: birthOf(1) ?? "" }));
  store.flush();
  expect(await children.sweep()).toEqual([]);
  for (const pid of all) expect(liveMembers(pid).length).toBeGreaterThan(0);
  store.flush();
  expect(store.readChildren()).toEqual([]);
});
