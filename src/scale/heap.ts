/**
 * Heap snapshots compared: which classes of objects became more.
 *
 * Owns reading the form Chrome's DevTools know, as far as counting needs it. Invariants: only objects count, whose name is
 * their class; the name of a string is its text. A snapshot that cannot be read counts nothing, and fails nobody.
 */

/** A class whose objects became more. */
export interface Growth {
  readonly name: string;
  readonly objects: number;
  readonly bytes: number;
}

interface Snapshot {
  readonly snapshot: {
    readonly meta: {
      readonly node_fields: readonly string[];
      /** In the order of the fields; a field that is chosen from a list has the list. */
      readonly node_types?: readonly (string | readonly string[])[];
    };
  };
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
}

/** What became more between two snapshots, the most bytes first. */
export function heapGrowth(before: string, after: string): readonly Growth[] {
  const [was, is] = [classesOf(before), classesOf(after)];
  return [...is]
    .map(([name, { objects, bytes }]) => ({
      name,
      objects: objects - (was.get(name)?.objects ?? 0),
      bytes: bytes - (was.get(name)?.bytes ?? 0),
    }))
    .filter(({ objects }) => objects > 0)
    .toSorted((a, b) => b.bytes - a.bytes);
}

function classesOf(text: string): ReadonlyMap<string, { readonly objects: number; readonly bytes: number }> {
  const classes = new Map<string, { objects: number; bytes: number }>();
  let parsed: Snapshot;
  try {
    parsed = JSON.parse(text) as Snapshot;
  } catch {
    return classes;
  }
  const { node_fields: fields, node_types: types = [] } = parsed.snapshot.meta;
  const [typeAt, nameAt, sizeAt] = [
    fields.indexOf("type"),
    fields.indexOf("name"),
    fields.indexOf("self_size"),
  ];
  // Without types nothing can be told apart: all counts.
  const object = types[typeAt]?.indexOf("object");
  for (let at = 0; at < parsed.nodes.length; at += fields.length) {
    if (typeAt >= 0 && parsed.nodes[at + typeAt] !== object) continue;
    const name = parsed.strings[parsed.nodes[at + nameAt] ?? 0] ?? "?";
    const known = classes.get(name) ?? { objects: 0, bytes: 0 };
    known.objects += 1;
    known.bytes += parsed.nodes[at + sizeAt] ?? 0;
    classes.set(name, known);
  }
  return classes;
}
