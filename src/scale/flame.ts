/**
 * Flame graphs: a processor profile in the form speedscope reads.
 *
 * Owns the conversion from a `.cpuprofile`. Invariant: each sample keeps its weight, so that the sums agree with the
 * profile's; format: https://www.speedscope.app/file-format-schema.json, "sampled".
 */

/** A processor profile as the engine's inspector gives it. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
      readonly columnNumber: number;
    };
    readonly children?: readonly number[];
  }[];
  readonly samples?: readonly number[];
  /** Microseconds. */
  readonly timeDeltas?: readonly number[];
}

/** Converts a profile. */
export function toSpeedscope(name: string, profile: CpuProfile): object {
  const { nodes, samples = [], timeDeltas = [] } = profile;
  const parents = new Map<number, number>();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  const frames: object[] = [];
  const frameOf = new Map<string, number>();
  const frameOfNode = new Map<number, number>();
  for (const { id, callFrame } of nodes) {
    const { functionName, url, lineNumber, columnNumber } = callFrame;
    const key = `${functionName}|${url}|${lineNumber}|${columnNumber}`;
    const known = frameOf.get(key) ?? frames.length;
    if (known === frames.length) {
      frameOf.set(key, known);
      frames.push({
        name: functionName === "" ? "(anonymous)" : functionName,
        ...(url === "" ? {} : { file: url, line: lineNumber + 1, col: columnNumber + 1 }),
      });
    }
    frameOfNode.set(id, known);
  }
  const stackOf = (node: number): number[] => {
    const stack: number[] = [];
    for (let at: number | undefined = node; at !== undefined; at = parents.get(at)) {
      const frame = frameOfNode.get(at);
      if (frame !== undefined) stack.unshift(frame);
    }
    return stack;
  };
  const total = timeDeltas.reduce((sum, delta) => sum + delta, 0);
  return {
    $schema: "https://www.speedscope.app/file-format-schema.json",
    exporter: "mcpproxy scale",
    name,
    shared: { frames },
    profiles: [
      {
        type: "sampled",
        name,
        unit: "microseconds",
        startValue: 0,
        endValue: total,
        samples: samples.map(stackOf),
        weights: samples.map((_, at) => timeDeltas[at] ?? 0),
      },
    ],
  };
}
