/**
 * Configurations, requests and edits by hand, drawn from a seed.
 *
 * Owns what is drawn and how often. Invariants: equal seeds give equal draws as long as the texts given are equal; each comment, server and
 * group made here has a mark of its own, so that a lost or doubled one is seen; every text is one a proxy takes.
 */
import { modify, parseTree } from "jsonc-parser";
import { pick, seededRandom } from "../../src/mock/random.ts";
import type { Random } from "../../src/mock/random.ts";
import type { ModelRequest, ModelState, Operation } from "./config_model.ts";

const NAMES = [
  "plain",
  "Größe 2.0/..",
  "10",
  "2",
  "odd.name with space",
  "web 🚀",
  "a/b",
  "x'\"y",
  "then",
  "constructor",
];
const GROUPS = ["Alpha Team", "beta", "Gamma/1", "δ", "fifth"];
const MODES = [
  '"startup_mode": "active"',
  '"startup_mode": "lazy_loading", "enabled": true',
  '"startup_mode": "disabled"',
  '"enabled": true',
  '"enabled": false, "updated": "2025-01-01T00:00:00Z"',
  '"enabled": true, "start_on_boot": false',
  '"enabled": true, "quarantined": false',
  '"startup_mode": "quarantined"',
  '"enabled": true, "quarantined": true',
  '"disabled": false',
  '"x_none": null',
];
/** Servers beyond which more are removed than added. */
const SERVERS_MAX = 22;

/** How a file is written. */
export interface Form {
  readonly isMap: boolean;
  readonly isWindows: boolean;
}

/** Draws everything a sequence needs. */
export class Chance {
  readonly random: Random;
  #marks = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** Whether something happens that happens in a share of all cases. */
  isLucky(ratio: number): boolean {
    return this.random() < ratio;
  }

  /** A whole file. */
  file({ isMap, isWindows }: Form): string {
    const servers = NAMES.slice(0, 8).map((name) => this.#entry(name, isMap));
    const body = servers.map((entry) => `    ${this.#block()} ${entry}, ${this.#line()}\n`).join("");
    const [open, close] = isMap ? ["{", "}"] : ["[", "]"];
    const groups = GROUPS.slice(0, 3)
      .map(
        (name, at) =>
          `    { "id": ${at * 3 + 1}, "name": ${JSON.stringify(name)}, "x_id": "g${this.#mark()}" }, ${this.#line()}\n`,
      )
      .join("");
    const text = `${this.#line()}
{
  "x_top": { "keep": 1.50, ${this.#block()} "list": [1, 2 , 3] }, ${this.#line()}
  "tools_limit": 15, ${this.#line()}
  "groups": [ ${this.#line()}
${groups}    ${this.#line()}
  ],
  ${this.#block()} "mcpServers": ${open} ${this.#line()}
${body}    ${this.#line()}
  ${close}, ${this.#line()}
  "$schema": "s" ${this.#block()}
  ${this.#line()}
}
${this.#line()}
`;
    return isWindows ? `\ufeff${text.replaceAll("\n", "\r\n").replaceAll("    ", "\t\t")}` : text;
  }

  /** Some operations on what is there, and on what is not. */
  request(state: ModelState): ModelRequest {
    const isByPerson = this.isLucky(0.6);
    const mayRelease = this.isLucky(0.7);
    const count = this.isLucky(0.1) ? 12 : 1 + Math.floor(this.random() * 4);
    const names = [...state.servers.keys(), ...(this.isLucky(0.2) ? ["nobody"] : [])];
    const operations: Operation[] = [];
    for (let at = 0; at < count; at += 1) operations.push(this.#operation(state, { names, mayRelease }));
    // Back in the mode before a quarantine, which is not known here: what depends on it is left out.
    const isOpen = operations.some(
      ({ op, approve }) => op === "approve" || op === "enable" || approve === true,
    );
    const told = isOpen
      ? operations.filter(({ op }) => op !== "auto_disable" && op !== "reject")
      : operations;
    return { operations: told, isLenient: this.isLucky(0.75), isByPerson };
  }

  /** A text edited by hand. */
  edit(text: string): string {
    const eol = text.includes("\r\n") ? "\r\n" : "\n";
    const plain = text.replace(/^\ufeff/, "");
    const mark = text === plain ? "" : "\ufeff";
    const tree = parseTree(plain, [], { allowTrailingComma: true });
    const servers = tree?.children?.find(({ children }) => children?.[0]?.value === "mcpServers")
      ?.children?.[1];
    const one = servers?.children?.length ? pick(this.random, servers.children) : undefined;
    const entry = servers?.type === "object" ? one?.children?.[1] : one;
    const valueOf = (key: string) =>
      entry?.children?.find(({ children }) => children?.[0]?.value === key)?.children?.[1];
    const splice = (offset: number, length: number, put: string): string =>
      mark + plain.slice(0, offset) + put + plain.slice(offset + length);
    const dice = this.random();
    const [command, mode] = [valueOf("command"), valueOf("startup_mode")];
    if (dice < 0.25 && command !== undefined)
      return splice(command.offset, command.length, `"hand-${this.#mark()}"`);
    if (dice < 0.4 && mode !== undefined) {
      const next = pick(this.random, ["active", "lazy_loading", "disabled", "quarantined"]);
      return splice(mode.offset, mode.length, `"${next}" ${this.#block()}`);
    }
    if (dice < 0.55 && servers !== undefined) {
      const name = `hand ${this.#mark()}`;
      const fresh = `${eol}    ${this.#entry(name, servers.type === "object")}${servers.children?.length ? "," : ""}`;
      return splice(servers.offset + 1, 0, fresh.replaceAll("\n", eol).replaceAll("\r\r", "\r"));
    }
    if (dice < 0.65 && servers !== undefined && (servers.children?.length ?? 0) > 4) {
      const steps = servers.children?.map((child, at) => String(child.children?.[0]?.value ?? at)) ?? [];
      const step =
        servers.type === "object" ? pick(this.random, steps) : Math.floor(this.random() * steps.length);
      const [edit] = modify(plain, ["mcpServers", step], undefined, {});
      if (edit !== undefined) return splice(edit.offset, edit.length, edit.content);
    }
    const after = [...plain.matchAll(/"tools_limit": \d+,?|"keep": [\d.]+|"x_id": "[^"]*"/g)];
    const place = pick(this.random, after);
    return splice(place.index + place[0].length, 0, ` ${this.#block()}`);
  }

  #operation(
    state: ModelState,
    { names, mayRelease }: { readonly names: readonly string[]; readonly mayRelease: boolean },
  ): Operation {
    const { random } = this;
    const name = names.length > 0 ? pick(random, names) : "nobody";
    const groups = [...state.groups.values()].flatMap((group) => [group.name, group.number]);
    const group = pick(random, [...groups, "no such group"]);
    const approve = this.isLucky(0.5) && mayRelease;
    const free = pick(random, [...NAMES, `new ${this.#mark()}`]);
    const isFull = state.servers.size > SERVERS_MAX;
    const dice = random();
    if (dice < 0.1)
      return isFull ? { op: "remove", name } : { op: "add", server: this.#added(free), approve };
    if (dice < 0.3) return { op: "patch", name, patch: this.#patch(), approve };
    if (dice < 0.36) return { op: "remove", name };
    if (dice < 0.44)
      return { op: "rename", name, to: this.isLucky(0.2) && names.length > 0 ? pick(random, names) : free };
    if (dice < 0.62)
      return {
        op: pick(random, ["enable", "make_lazy", "disable", "disable", "quarantine", "auto_disable"]),
        name,
      };
    if (dice < 0.7) return { op: mayRelease && this.isLucky(0.7) ? "approve" : "reject", name };
    if (dice < 0.84) return { op: this.isLucky(0.6) ? "assign" : "unassign", name, group };
    if (dice < 0.88)
      return { op: "add_group", group: { name: pick(random, GROUPS), x_id: `g${this.#mark()}`, x_n: 1.5 } };
    if (dice < 0.92) {
      const patch = this.isLucky(0.5)
        ? { name: pick(random, GROUPS) }
        : { color: `#${this.#mark()}`, x_n: null };
      return { op: "patch_group", group, patch };
    }
    if (dice < 0.94) return { op: "remove_group", group };
    const limit = this.isLucky(0.1) ? "no" : 1 + Math.floor(random() * 50);
    return {
      op: "settings",
      patch: { tools_limit: limit, x_top: { fresh: this.#mark(), deep: { a: [this.#mark()] } } },
    };
  }

  #patch(): Readonly<Record<string, unknown>> {
    const mark = this.#mark();
    return pick(this.random, [
      { x_note: { at: mark, list: [mark] } },
      { description: `é ${mark} // no comment */` },
      { tags: [`t${mark}`, "u"] },
      { args: ["a", `b${mark}`] },
      { args: ["a", "b", `c${mark}`] },
      { env: { A: String(mark) } },
      { env: { A: null, B: "b" } },
      { command: `cmd-${mark}` },
      { x_num: 1.5, x_deep: null },
      {},
    ] as Readonly<Record<string, unknown>>[]);
  }

  #added(name: string): Readonly<Record<string, unknown>> {
    const mark = this.#mark();
    const mode = pick(this.random, [{}, { startup_mode: "lazy_loading" }, { enabled: false }]);
    return {
      name,
      x_id: `s${mark}`,
      command: `cmd-${mark}`,
      args: ["a", "b"],
      ...mode,
      x_list: [1.5, { a: null }],
    };
  }

  #entry(name: string, isMap: boolean): string {
    const mark = this.#mark();
    const groups = pick(this.random, [
      '"group_id": 4',
      '"groups": ["Alpha Team", 7]',
      '"groups": ["beta"]',
      '"x_deep": {"a": [{"b": null}]}',
    ]);
    const called = isMap ? "" : `"name": ${JSON.stringify(name)}, ${this.#block()} `;
    const entry = `{ ${called}"x_id": "s${mark}", "command": "cmd-${mark}", ${this.#line()}
      "args": ["a", ${this.#block()} "b"], "env": { "A": "1" ${this.#block()} }, ${this.#line()}
      ${this.#line()}
      ${pick(this.random, MODES)}, "x_num": 1.50, ${groups} ${this.#block()}
    }`;
    return isMap ? `${JSON.stringify(name)}: ${entry}` : entry;
  }

  #mark(): number {
    this.#marks += 1;
    return this.#marks;
  }

  #line(): string {
    return `// m${this.#mark()}`;
  }

  #block(): string {
    return `/* m${this.#mark()} */`;
  }
}
