/** Holds what a heap snapshot counts. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { runProgram } from "../../src/lib/program.ts";
import { heapGrowth } from "../../src/scale/heap.ts";
import { ROOT } from "../e2e/harness.ts";

const TYPES = ["hidden", "string", "object", "concatenated string"] as const;

/** A snapshot of such nodes, in the form of the engine. */
function snapshotOf(
  nodes: readonly (readonly [type: (typeof TYPES)[number], name: string, bytes: number])[],
): string {
  const strings = [...new Set(nodes.map(([, name]) => name))];
  return JSON.stringify({
    snapshot: {
      meta: {
        node_fields: ["type", "name", "id", "self_size", "edge_count"],
        node_types: [TYPES, "string", "number", "number", "number"],
      },
    },
    nodes: nodes.flatMap(([type, name, bytes], id) => [
      TYPES.indexOf(type),
      strings.indexOf(name),
      id,
      bytes,
      0,
    ]),
    strings,
  });
}

test("heapGrowth() counts objects by their class, and no text for one", () => {
  const before = snapshotOf([
    ["object", "Session", 40],
    ["object", "Map", 30],
  ]);
  const after = snapshotOf([
    ["object", "Session", 40],
    ["object", "Session", 48],
    ["object", "Map", 30],
    ["string", "Session", 900],
    ["string", "Error: lost\n    at call (src/a.ts:1:1)", 500],
    ["concatenated string", "a line of a log", 500],
    ["hidden", "PropertyTable", 500],
  ]);
  expect(heapGrowth(before, after)).toEqual([{ name: "Session", objects: 1, bytes: 48 }]);
});

/** In a process of its own: a snapshot of the whole suite takes seconds. */
const SCRIPT = `
  import { heapGrowth } from ${JSON.stringify(join(ROOT, "src/scale/heap.ts"))};
  class Leaked {
    text = "text " + Math.random();
  }
  const before = Bun.generateHeapSnapshot("v8");
  globalThis.kept = Array.from({ length: 1_000 }, () => new Leaked());
  const grown = heapGrowth(before, Bun.generateHeapSnapshot("v8"));
  console.log(JSON.stringify(grown.filter(({ name }) => name === "Leaked" || name.startsWith("text "))));
`;

test("heapGrowth() reads what the engine writes", async () => {
  const { stdout, stderr } = await runProgram([process.execPath, "-e", SCRIPT]);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toMatchObject([{ name: "Leaked", objects: 1_000 }]);
}, 30_000);
