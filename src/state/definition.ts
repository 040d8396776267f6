/**
 * What of a server is started, and its hash.
 *
 * Owns which fields decide what runs: a person approves these and nothing else, and a change of one of them restarts
 * the server. Invariants: names, modes, groups, timeouts and filters never count; the order of variables and headers
 * does not either; references stay unresolved, so a rotated secret is no new definition. Hashing the entry as it is
 * written was rejected: a comment or an unknown key would ask a person for nothing.
 */
import type { Server } from "../core/model.ts";

/** Servers never change once made, so each is hashed once. */
const hashes = new WeakMap<Server, string>();

/** Hashes what is started: command, args, env, url, headers, working folder and transport; hex. */
export function definitionHash(server: Server): string {
  const known = hashes.get(server);
  if (known !== undefined) return known;
  const { transport, url, command, args, workingDir, env, headers } = server;
  const parts = [
    transport,
    url ?? null,
    command ?? null,
    args,
    workingDir ?? null,
    sorted(env),
    sorted(headers),
  ];
  const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(parts)).digest("hex");
  hashes.set(server, hash);
  return hash;
}

/** Whether two servers would be started alike; cheaper than two hashes. */
export function isSameDefinition(a: Server, b: Server): boolean {
  return (
    a === b ||
    (a.transport === b.transport &&
      a.url === b.url &&
      a.command === b.command &&
      a.workingDir === b.workingDir &&
      isSameList(a.args, b.args) &&
      isSameMap(a.env, b.env) &&
      isSameMap(a.headers, b.headers))
  );
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((item, index) => item === b[index]));
}

function isSameMap(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a === b || (a.size === b.size && [...a].every(([key, value]) => b.get(key) === value));
}

function sorted(map: ReadonlyMap<string, string>): readonly (readonly [string, string])[] {
  return [...map].toSorted(([a], [b]) => (a < b ? -1 : 1));
}
