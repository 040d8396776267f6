/** Holds what comes out of a run: Markdown, pictures, flame graphs, and what a heap holds more. */
import { expect, test } from "bun:test";
import { toSpeedscope } from "../../src/scale/flame.ts";
import { heapGrowth } from "../../src/scale/heap.ts";
import { toSvg } from "../../src/scale/plot.ts";
import { toMarkdown } from "../../src/scale/report.ts";

const HEAD = {
  servers: 159,
  profile: "healthy",
  program: "mcpproxy",
  machine: "2 × cpu, 8 GB",
  startedAt: "2026-01-01T00:00:00.000Z",
  seconds: 1.5,
};

test("toMarkdown() writes each row, and breaks no table by what a row says", () => {
  const row = { area: "loading", metric: "a | b", unit: "ms", measured: 12.34, target: 20 } as const;
  const text = toMarkdown({
    head: HEAD,
    isPassed: true,
    rows: [{ ...row, verdict: "within", note: "one\ntwo" }],
  });
  expect(text).toContain("| loading | a \\| b | 20 ms |  | 12.3 ms | ok | one two |");
  expect(text).toContain("passed: 1 within their bars");
  expect(text).toStartWith("# mcpproxy scale: 159 servers, profile healthy");
  const file = { kb: 126, serversPerSecond: 8_259 };
  expect(toMarkdown({ head: { ...HEAD, file }, isPassed: true, rows: [] })).toStartWith(
    "# mcpproxy scale: 159 servers (126 KB, read at 8259 servers/s), profile healthy",
  );
});

test("toSvg() draws each curve and escapes its names", () => {
  const points = [0, 1, 2].map((x) => ({ x, y: x === 1 ? Number.NaN : x }));
  const svg = toSvg("a <title>", [{ name: "R&D", unit: "MB", points }]);
  expect(svg).toContain("a &lt;title&gt;");
  expect(svg).toContain("R&amp;D, MB");
  const [, line = ""] = /<polyline points="([^"]*)"/.exec(svg) ?? [];
  expect(line.split(" ")).toHaveLength(2);
  expect(svg).not.toContain("NaN");
});

test("toSpeedscope() keeps each sample's stack and weight", () => {
  const frame = (functionName: string) => ({ functionName, url: "a.ts", lineNumber: 0, columnNumber: 0 });
  const converted = toSpeedscope("run", {
    nodes: [
      { id: 1, callFrame: frame("(root)"), children: [2] },
      { id: 2, callFrame: frame("outer"), children: [3] },
      { id: 3, callFrame: frame("") },
    ],
    samples: [3, 2, 3],
    timeDeltas: [10, 20, 30],
  });
  expect(converted).toMatchObject({
    shared: { frames: [{ name: "(root)" }, { name: "outer" }, { name: "(anonymous)", line: 1 }] },
    profiles: [
      {
        endValue: 60,
        weights: [10, 20, 30],
        samples: [
          [0, 1, 2],
          [0, 1],
          [0, 1, 2],
        ],
      },
    ],
  });
});

test("heapGrowth() names what became more, the most bytes first, and nothing for a text that is no snapshot", () => {
  const snapshot = (nodes: readonly (readonly [name: number, size: number])[]): string =>
    JSON.stringify({
      snapshot: { meta: { node_fields: ["id", "name", "self_size"] } },
      nodes: nodes.flatMap(([name, size], id) => [id, name, size]),
      strings: ["Leak", "Cache", "Same"],
    });
  const before = snapshot([
    [0, 8],
    [2, 8],
  ]);
  const after = snapshot([
    [0, 8],
    [0, 8],
    [1, 100],
    [2, 8],
  ]);
  expect(heapGrowth(before, after)).toEqual([
    { name: "Cache", objects: 1, bytes: 100 },
    { name: "Leak", objects: 1, bytes: 8 },
  ]);
  expect(heapGrowth(before, "no snapshot")).toEqual([]);
});
