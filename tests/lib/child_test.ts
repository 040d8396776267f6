/**
 * Children: whatever a child does, stopping it ends its whole group in bounded time.
 */
import { expect, test } from "bun:test";
import { Child } from "../../src/lib/child.ts";
import type { ChildOptions } from "../../src/lib/child.ts";
import { failureOf, liveMembers, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const ENV = { PATH: process.env["PATH"] ?? "" };
const GRACE = { stopGraceMs: 150, termGraceMs: 150 };

function spawn(
  script: string,
  parts: Partial<ChildOptions> = {},
): { child: Child; stdout: () => string; stderr: () => string } {
  const [stdout, stderr]: [Uint8Array[], Uint8Array[]] = [[], []];
  const child = Child.spawn({
    command: "sh",
    args: ["-c", script],
    env: ENV,
    onStdout: (chunk) => stdout.push(chunk.slice()),
    onStderr: (chunk) => stderr.push(chunk.slice()),
    ...parts,
  });
  return {
    child,
    stdout: () => Buffer.concat(stdout).toString(),
    stderr: () => Buffer.concat(stderr).toString(),
  };
}

/** Name, script (it says `up` when it is), how many processes it is, and the longest its end may take. */
const BEHAVIOURS: readonly (readonly [string, string, number, number])[] = [
  ["well-behaved", "echo up; exec cat", 1, 140],
  ["ignores EOF", "echo up; exec sleep 60", 1, 290],
  ["ignores EOF and TERM", "trap '' TERM; echo up; while :; do sleep 1; done", 2, 600],
  ["forks a grandchild that lives on", "sleep 60 & echo up; exec cat", 2, 290],
  [
    "forks stubborn grandchildren",
    "(trap '' TERM HUP; while :; do sleep 1; done) & (trap '' TERM; sleep 60) & echo up; exec cat",
    4,
    600,
  ],
  ["is a shell around the command", "echo up; cat; :", 2, 140],
  [
    "is a shell in a shell around a stubborn command",
    `sh -c 'trap "" TERM; echo up; sleep 60; :'; :`,
    3,
    600,
  ],
  ["leaves with a stubborn orphan behind", "(trap '' TERM HUP; echo up; sleep 60; :) & exit 0", 2, 600],
];

for (const [name, script, size, boundMs] of BEHAVIOURS) {
  test.concurrent(`Child.stop() leaves nothing of a child that ${name}`, async () => {
    verifies("STDIO-NO-SURVIVORS");
    const { child, stdout } = spawn(script);
    await waitFor("the whole group runs", () => stdout() === "up\n" && liveMembers(child.pid).length >= size);
    const startedAt = performance.now();
    await child.stop(GRACE);
    expect(liveMembers(child.pid)).toEqual([]);
    expect(performance.now() - startedAt).toBeLessThan(boundMs + 400);
  });
}

test.concurrent("Child.stop() right after the start leaves nothing, while other groups are being looked for", async () => {
  verifies("STDIO-NO-SURVIVORS");
  const script = "trap '' TERM; sleep 60; :";
  const stubborn = spawn(script).child;
  const slowStop = stubborn.stop({ stopGraceMs: 200, termGraceMs: 50 });
  const late: Child[] = [];
  const stops: Promise<void>[] = [];
  for (let count = 0; count < 25; count += 1) {
    const { child } = spawn(script);
    late.push(child);
    stops.push(child.stop({ stopGraceMs: 0, termGraceMs: 50 }));
    await Bun.sleep(3);
  }
  await Promise.all([slowStop, ...stops]);
  expect([stubborn, ...late].flatMap((child) => liveMembers(child.pid))).toEqual([]);
});

test.concurrent("Child.stop() called twice waits for the same end, and after the exit it returns at once", async () => {
  const { child } = spawn("exec cat");
  expect(child.stop(GRACE)).toBe(child.stop());
  await child.stop();
  expect(await child.exited).toEqual({ code: 0, signal: null });
  const startedAt = performance.now();
  await child.stop();
  expect(performance.now() - startedAt).toBeLessThan(50);
});

test.concurrent("Child.exited tells code and signal, after all output was read", async () => {
  const { child, stdout, stderr } = spawn("head -c 3000000 /dev/zero | tr '\\0' x; echo last >&2; exit 7");
  expect(await child.exited).toEqual({ code: 7, signal: null });
  expect(stdout()).toBe("x".repeat(3_000_000));
  expect(stderr()).toBe("last\n");
  const killed = spawn("kill -9 $$").child;
  expect(await killed.exited).toEqual({ code: null, signal: "SIGKILL" });
});

test.concurrent("Child.exited does not wait for a grandchild that holds the pipes", async () => {
  const { child } = spawn("sleep 60 & exit 3");
  const startedAt = performance.now();
  expect((await child.exited).code).toBe(3);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  await child.stop({ stopGraceMs: 0 });
  expect(liveMembers(child.pid)).toEqual([]);
});

test.concurrent("Child.spawn() runs argv without a shell, with the environment given and no other", async () => {
  verifies("STDIO-ARGV-NO-SHELL");
  const args = ["-c", 'printf "%s|" "$0" "$@"', "$(id)", "a b", "; exit 9", "*", "`x`", "'\""];
  const { child, stdout } = spawn("", { args });
  expect(await child.exited).toEqual({ code: 0, signal: null });
  expect(stdout()).toBe("$(id)|a b|; exit 9|*|`x`|'\"|");
  const printed = spawn("", { command: "env", args: [], env: { PATH: ENV.PATH, ONLY: "this" } });
  await printed.child.exited;
  expect(printed.stdout().trim().split("\n").toSorted()).toEqual(["ONLY=this", `PATH=${ENV.PATH}`]);
});

test("Child.spawn() throws the system's error for a command that cannot be started", async () => {
  expect((await failureOf(() => spawn("", { command: "no-such-command-here" })))["code"]).toBe("ENOENT");
  expect((await failureOf(() => spawn("", { command: "/etc/passwd" })))["code"]).toBe("EACCES");
  expect((await failureOf(() => spawn("", { cwd: "/no/such/folder" })))["code"]).toBe("ENOENT");
});

test.concurrent("Child.write() reaches the child in order, and throws once too much waits unread", async () => {
  const { child, stdout } = spawn("exec cat");
  const lines = Array.from({ length: 2_000 }, (_, at) => `line ${at} ${"ü".repeat(at % 50)}\n`);
  for (const line of lines) child.write(line);
  await waitFor("all lines come back", () => stdout().length === lines.join("").length);
  expect(stdout()).toBe(lines.join(""));
  await child.stop(GRACE);

  const deaf = spawn("exec sleep 60").child;
  const chunk = "x".repeat(8 * 1024 * 1024);
  const failure = await failureOf(() => {
    for (let count = 0; count < 12; count += 1) deaf.write(chunk);
  });
  expect(failure.message).toBe("the process does not read its input");
  await deaf.stop({ stopGraceMs: 50, termGraceMs: 500 });
  expect(liveMembers(deaf.pid)).toEqual([]);
});

test.concurrent("Child.write() to a child that is gone does not crash the process", async () => {
  const { child } = spawn("exit 0");
  await child.exited;
  try {
    child.write("too late\n");
  } catch {
    // Saying so is fine.
  }
  await child.stop();
});
