/**
 * A socket from before it is bound until after it is gone: who may open it, and what lies in its place.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "bun:test";

import { bindPrivately } from "../../src/lib/private_socket.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

function serve(unix: string, text = "hello"): Bun.Server<undefined> {
  return Bun.serve({ unix, fetch: () => new Response(text) });
}

async function ask(path: string): Promise<string> {
  return (await fetch("http://localhost/", { unix: path })).text();
}

async function messageOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

test("a socket is closed to others before anybody could know its path, whatever the umask", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "s.sock");
  const umask = process.umask(0);
  let modes: readonly number[] = [];
  try {
    const bound = await bindPrivately(path, (unix) => {
      const server = serve(unix);
      expect(dirname(unix)).not.toBe(folder.path);
      expect(existsSync(path)).toBe(false);
      modes = [statSync(dirname(unix)).mode & 0o777, lstatSync(unix).mode & 0o777];
      return server;
    });
    // What would be open to all lies in a folder that is open to nobody else.
    expect(modes).toEqual([0o700, 0o777]);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path)).toEqual(["s.sock"]);
    expect(await ask(path)).toBe("hello");
    bound.remove();
    await bound.listener.stop(true);
    expect(readdirSync(folder.path)).toEqual([]);
  } finally {
    process.umask(umask);
  }
});

test("a socket of a process that is dead is replaced, one that is answered is left alone", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "s.sock");
  const first = await bindPrivately(path, (unix) => serve(unix, "first"));
  expect(await messageOf(() => bindPrivately(path, (unix) => serve(unix, "second")))).toContain(
    "another program listens",
  );
  expect(await ask(path)).toBe("first");
  // As after a kill: the file stays, and nobody listens.
  await first.listener.stop(true);
  expect(existsSync(path)).toBe(true);
  const second = await bindPrivately(path, (unix) => serve(unix, "second"));
  expect(await ask(path)).toBe("second");
  // The first one comes to its end late, and takes nothing away that is not its own.
  first.remove();
  expect(existsSync(path)).toBe(true);
  expect(await ask(path)).toBe("second");
  second.remove();
  second.remove();
  await second.listener.stop(true);
  expect(existsSync(path)).toBe(false);
});

test("what a killed start left in the closed folder is in nobody's way", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "s.sock");
  mkdirSync(join(folder.path, ".socket"), { mode: 0o777 });
  writeFileSync(join(folder.path, ".socket", "s"), "");
  const bound = await bindPrivately(path, serve);
  expect(await ask(path)).toBe("hello");
  expect(readdirSync(folder.path)).toEqual(["s.sock"]);
  bound.remove();
  await bound.listener.stop(true);
});

test.each([
  ["a file", (path: string) => writeFileSync(path, "mine"), "no socket"],
  ["a folder", (path: string) => mkdirSync(path), "no socket"],
])("%s in its place is refused and stays", async (_, put, why) => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "s.sock");
  put(path);
  let binds = 0;
  const bind = (unix: string) => {
    binds += 1;
    return serve(unix);
  };
  expect(await messageOf(() => bindPrivately(path, bind))).toContain(why);
  expect([binds, existsSync(path)]).toEqual([0, true]);
});

test("a path that is too long for the system is refused with its length, the longest one is not", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const most = process.platform === "linux" ? 107 : 103;
  const pathOf = (bytes: number): string => {
    const deep = join(folder.path, "d".repeat(bytes - folder.path.length - 1 - 1 - "mcpproxy.sock".length));
    mkdirSync(deep, { recursive: true });
    return join(deep, "mcpproxy.sock");
  };
  const long = pathOf(most + 1);
  expect(await messageOf(() => bindPrivately(long, serve))).toContain(`${most + 1} bytes`);
  expect(readdirSync(dirname(long))).toEqual([]);
  const fitting = pathOf(most);
  const bound = await bindPrivately(fitting, serve);
  expect(await ask(fitting)).toBe("hello");
  bound.remove();
  await bound.listener.stop(true);
});

test("a listener that cannot be made leaves nothing behind", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "s.sock");
  const fail = (): never => {
    throw new Error("no listener today");
  };
  expect(await messageOf(() => bindPrivately(path, fail))).toBe("no listener today");
  expect(readdirSync(folder.path)).toEqual([]);
});
