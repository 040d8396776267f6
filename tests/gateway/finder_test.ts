/**
 * What may be found: filters before the limit, and nothing of a server that is off, on any path.
 */
import { afterEach, describe, expect, test } from "bun:test";
import type { Server, StartupMode, ToolDefinition } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { ask, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const resource of open.splice(0).toReversed()) await resource[Symbol.asyncDispose]();
});

function keep<T extends AsyncDisposable>(resource: T): T {
  open.push(resource);
  return resource;
}

const FAULT = {
  file: "/etc/mcp_config.json",
  line: 3,
  column: 5,
  key: "mcpServers[0].url",
  message: "The URL is wrong",
  advice: "Write one",
};

function at(name: string, parts: Partial<Server> = {}): Server {
  return makeServer({ name, url: "http://127.0.0.1:9/mcp", ...parts });
}

/** Tools that all answer to the word "zebra". */
function zebras(
  count: number,
  parts: (index: number) => Partial<ToolDefinition> = () => ({}),
): ToolDefinition[] {
  return Array.from({ length: count }, (_, index) => ({
    ...makeDefinition(`zebra_${index}`, { description: "Counts zebra stripes" }),
    ...parts(index),
  }));
}

async function gatewayOf(
  servers: readonly Server[],
  tools: Readonly<Record<string, readonly ToolDefinition[]>>,
): Promise<Gateway> {
  const gateway = keep(await openGateway(servers));
  for (const [server, list] of Object.entries(tools)) gateway.intake.take(server, list);
  return gateway;
}

function idsOf(gateway: Gateway, options: Parameters<Gateway["finder"]["find"]>[0]): string[] {
  return gateway.finder.find(options).found.map(({ tool }) => tool.id);
}

describe("Finder.find()", () => {
  test("fills the limit with what passes the filters, however many better hits do not", async () => {
    verifies("SEARCH-FILTER-BEFORE-RANK");
    const groups = ["Rare"];
    const gateway = await gatewayOf(
      [at("big"), at("small", { groups }), at("off", { startupMode: "disabled" })],
      {
        big: zebras(200, (index) => ({
          annotations: index % 40 === 0 ? { readOnlyHint: true } : { destructiveHint: true },
        })),
        small: zebras(6).map((tool) => ({
          ...tool,
          description: `${"Long words about other things. ".repeat(20)} zebra`,
        })),
        off: zebras(50, () => ({ description: "zebra zebra zebra" })),
      },
    );
    expect(idsOf(gateway, { query: "zebra", limit: 10 })).toHaveLength(10);
    const ofSmall = idsOf(gateway, { query: "zebra", limit: 6, server: "small" });
    expect(ofSmall.toSorted()).toEqual([0, 1, 2, 3, 4, 5].map((n) => `small:zebra_${n}`));
    expect(idsOf(gateway, { query: "zebra", limit: 6, group: "Rare" }).toSorted()).toEqual(
      ofSmall.toSorted(),
    );
    expect(idsOf(gateway, { query: "zebra", limit: 5, readOnlyOnly: true }).toSorted()).toEqual(
      [0, 120, 160, 40, 80].map((n) => `big:zebra_${n}`),
    );
    expect(idsOf(gateway, { query: "zebra", limit: 11, excludeDestructive: true })).toHaveLength(11);
    expect(idsOf(gateway, { query: "zebra", limit: 100 }).some((id) => id.startsWith("off:"))).toBe(false);
  });

  test("counts in 'total' only what may be called", async () => {
    verifies("SEARCH-HIDES-OFF-SERVERS");
    const gateway = await gatewayOf(
      [at("a", { disabledTools: ["zebra_0"] }), at("b", { startupMode: "quarantined" })],
      {
        a: zebras(3),
        b: zebras(30),
      },
    );
    expect(gateway.finder.find({ query: "zebra", limit: 1 })).toMatchObject({ total: 2, found: [{}] });
  });

  test("takes a tool that says both read-only and destructive for a destructive one", async () => {
    const gateway = await gatewayOf([at("a")], {
      a: zebras(1, () => ({ annotations: { readOnlyHint: true, destructiveHint: true } })),
    });
    expect(idsOf(gateway, { query: "zebra", readOnlyOnly: true })).toEqual([]);
    expect(idsOf(gateway, { query: "zebra", excludeDestructive: true })).toEqual([]);
    expect(idsOf(gateway, { query: "zebra" })).toEqual(["a:zebra_0"]);
  });

  test("finds a group by its name and by its id, whichever the server's entry has", async () => {
    const settings = { groups: [{ id: 7, name: "Web Tools", description: "", enabled: true }] };
    const servers = [at("by-name", { groups: ["Web Tools"] }), at("by-id", { groups: ["7"] }), at("none")];
    const gateway = keep(await openGateway(servers, { settings }));
    for (const { name } of servers) gateway.intake.take(name, zebras(1));
    for (const group of ["Web Tools", "7"]) {
      expect(idsOf(gateway, { query: "zebra", group }).toSorted()).toEqual([
        "by-id:zebra_0",
        "by-name:zebra_0",
      ]);
    }
    expect(idsOf(gateway, { query: "zebra", group: "nobody" })).toEqual([]);
    expect(idsOf(gateway, { query: "zebra", server: "nobody" })).toEqual([]);
  });

  test("holds a limit to 1…100 and takes any text as a query", async () => {
    const gateway = await gatewayOf([at("a")], { a: zebras(150) });
    expect(idsOf(gateway, { query: "zebra", limit: 0 })).toHaveLength(1);
    expect(idsOf(gateway, { query: "zebra", limit: 1e9 })).toHaveLength(100);
    for (const query of [
      "",
      "   ",
      "\u0000",
      "\u{1f993}",
      "zebra".repeat(10_000),
      "__proto__",
      "constructor",
      "a:b:c",
    ]) {
      expect(Array.isArray(idsOf(gateway, { query }))).toBe(true);
    }
  });
});

test("Finder marks what was known before the start as stale, until its server is ready", async () => {
  await using upstream = serveTools(zebras(1));
  const gateway = keep(await openGateway([upstream.server()], { known: { s: zebras(2) } }));
  const standing = (): unknown => gateway.finder.standing(gateway.finder.get("s:zebra_0"));
  expect(standing()).toEqual({ serverState: "disconnected", isStale: true });
  await settle(gateway);
  expect(standing()).toEqual({ serverState: "connected", isStale: false });
  expect(idsOf(gateway, { query: "zebra" })).toEqual(["s:zebra_0"]);
});

/** T09: what is off leaks on no path. The canaries stand in every text such a tool has. */
describe("tools that are off", () => {
  const SECRET_TOOLS: ToolDefinition[] = [
    {
      name: "canary_launch",
      title: "CanaryTitle",
      description: "Launches the CanaryText zebra missile",
      inputSchema: {
        type: "object",
        properties: { canary_param: { type: "string", description: "CanaryParam" } },
        required: ["canary_param"],
      },
    },
  ];
  const CANARY = /canary/i;
  const OFF: [string, Partial<Server>, string][] = [
    ...(["disabled", "quarantined", "auto_disabled"] satisfies StartupMode[]).map(
      (startupMode): [string, Partial<Server>, string] => [startupMode, { startupMode }, "SERVER_OFF"],
    ),
    ["faulty", { faults: [FAULT] }, "SERVER_FAULTY"],
  ];

  test.each(OFF)(
    "of a %s server are neither found, listed, described, suggested nor called",
    async (mode, parts, code) => {
      verifies("SEARCH-HIDES-OFF-SERVERS");
      await using upstream = serveTools(SECRET_TOOLS);
      const servers = [upstream.server({ name: "off", ...parts }), at("on")];
      const gateway = keep(await openGateway(servers, { known: { off: SECRET_TOOLS, on: zebras(1) } }));
      await settle(gateway);

      expect(gateway.finder.list().map(({ id }) => id)).toEqual(["on:zebra_0"]);
      expect(gateway.finder.list({ server: "off" })).toEqual([]);
      const searches = [
        { query: "zebra missile canary_launch" },
        { query: "canary", server: "off" },
        { query: "CanaryText", detail: "full" },
        { query: "zebra", queries: ["canary_param", "CanaryTitle"], detail: "full", limit: 100 },
      ];
      for (const args of searches) {
        const { text } = await ask(gateway, "retrieve_tools", args);
        expect(text).not.toMatch(CANARY);
      }
      const ids = [
        "off:canary_launch",
        "off:canary_launc",
        "on:canary_launch",
        "of:canary_launch",
        "canary_launch",
      ];
      const described = await ask(gateway, "describe_tool", { tool_ids: ids });
      const { definitions, errors } = described.json as {
        definitions: unknown[];
        errors: { id: string; error: string; code: string }[];
      };
      expect(definitions).toEqual([]);
      expect(errors[0]).toMatchObject({ id: "off:canary_launch", code });
      // What the asker named comes back, and nothing that the tool says of itself.
      expect(withoutAsked(described.text, ids)).not.toMatch(CANARY);
      for (const name of ["call_tool_read", "call_tool_write", "call_tool_destructive", "call_tool"]) {
        const called = await ask(gateway, name, { name: "off:canary_launch", args: {} });
        expect(called.isError).toBe(true);
        expect(called.json["code"]).toBe(code);
        expect(withoutAsked(called.text, ids)).not.toMatch(CANARY);
      }
      expect(upstream.requests).toEqual([]);
      const why = {
        disabled: "disabled",
        quarantined: "quarantined",
        auto_disabled: "auto-disabled",
        faulty: FAULT.message,
      }[mode];
      expect(errors[0]?.error).toContain(why ?? "");
    },
  );

  test("by the lists of a server are neither found, described, suggested nor called", async () => {
    verifies("SEARCH-HIDES-OFF-SERVERS");
    const tools = [...SECRET_TOOLS, ...zebras(1)];
    for (const parts of [{ disabledTools: ["canary_launch"] }, { enabledTools: ["zebra_0"] }]) {
      await using upstream = serveTools(tools);
      const gateway = keep(await openGateway([upstream.server(parts)]));
      await settle(gateway);
      expect(gateway.finder.list().map(({ id }) => id)).toEqual(["s:zebra_0"]);
      expect(
        (await ask(gateway, "retrieve_tools", { query: "zebra canary missile", detail: "full" })).text,
      ).not.toMatch(CANARY);
      const ids = ["s:canary_launch", "s:canary_launc"];
      const { text, json } = await ask(gateway, "describe_tool", { tool_ids: ids });
      expect(json["errors"]).toMatchObject([{ code: "TOOL_REFUSED" }, {}]);
      expect(withoutAsked(text, ids)).not.toMatch(CANARY);
      const called = await ask(gateway, "call_tool_write", { name: "s:canary_launch", args: {} });
      expect(called.json["code"]).toBe("TOOL_REFUSED");
      expect(withoutAsked(called.text, ids)).not.toMatch(CANARY);
      expect(upstream.count("tools/call")).toBe(0);
    }
  });
});

function withoutAsked(text: string, ids: readonly string[]): string {
  const longestFirst = ids.toSorted((a, b) => b.length - a.length);
  return longestFirst.reduce(
    (rest, id) =>
      rest.replaceAll(`"id":"${id}"`, "").replaceAll(`'${id}'`, "").replaceAll(`"tool":"${id}"`, ""),
    text,
  );
}

test.each<[string, string, string]>([
  ["no colon", "zebra_0", "TOOL_UNKNOWN"],
  ["an empty server", ":zebra_0", "TOOL_UNKNOWN"],
  ["an empty tool", "a:", "TOOL_UNKNOWN"],
  ["an unknown server", "b:zebra_0", "SERVER_UNKNOWN"],
  ["an unknown tool", "a:zebra_x", "TOOL_UNKNOWN"],
  ["a key of every object", "__proto__:constructor", "SERVER_UNKNOWN"],
  ["a tool named like a key of every object", "a:__proto__", "TOOL_UNKNOWN"],
])("Finder.get() refuses an id with %s", async (_, id, code) => {
  verifies("CALL-UNKNOWN-TOOL");
  const gateway = await gatewayOf([at("a")], { a: zebras(2) });
  const failure = await failureOf(() => gateway.finder.get(id));
  expect(failure["code"]).toBe(code);
  expect(failure.message).toContain(code === "SERVER_UNKNOWN" ? id.slice(0, id.indexOf(":")) : id);
});

test("Finder.get() offers the nearest ids, and the server that was meant", async () => {
  verifies("CALL-UNKNOWN-TOOL");
  const gateway = await gatewayOf([at("github"), at("files")], {
    github: [makeDefinition("create_issue"), makeDefinition("close_issue")],
    files: [makeDefinition("read_file")],
  });
  const meant = async (id: string): Promise<unknown> => {
    const { json } = await ask(gateway, "describe_tool", { tool_ids: [id] });
    const [error] = json["errors"] as Record<string, unknown>[];
    return error?.["did_you_mean"];
  };
  expect(await meant("github:create_isue")).toContain("github:create_issue");
  expect(await meant("files:readfile")).toContain("files:read_file");
  expect(await meant("read_file")).toContain("files:read_file");
  expect((await failureOf(() => gateway.finder.get("githb:create_issue")))["hint"]).toContain("'github'");
});
