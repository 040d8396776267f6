/**
 * The operator's page and the reference in a real browser: what stands there, what its buttons do, and that nothing an
 * upstream says is ever markup or script.
 *
 * Without a Chromium on the machine these report themselves skipped; `tests/api/page_test.ts` holds the policy anyway.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { ToolDefinition } from "../../src/core/model.ts";
import { waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { openScene, startProxy } from "./harness.ts";

const BROWSERS = ["google-chrome-stable", "google-chrome", "chromium-browser", "chromium", "chrome"];
const browser = BROWSERS.map((name) => Bun.which(name)).find((path) => path !== null);
const KEY = "page-test-key-0123456789-0123456789";
const WAIT_MS = 15_000;
const TEST_MS = 60_000;

/** Each would leave a mark in `window.hits` if it ran, or an element behind if it were read as markup. */
const CORPUS = [
  "<script>hits.push(1)</script>",
  "<img src=x onerror=hits.push(2)>",
  "<svg onload=hits.push(3)>",
  '"><svg/onload=hits.push(4)>',
  "'><iframe srcdoc='<script>parent.hits.push(5)</script>'>",
  "<details open ontoggle=hits.push(6)>x</details>",
  "</td></tr></table><script>hits.push(7)</script>",
  "</textarea></title></style></script><script>hits.push(8)</script>",
  "<a href=javascript&colon;hits.push(9)>x</a>",
  "{{constructor.constructor('hits.push(10)')()}}",
  "${hits.push(11)}",
  "<math><mtext></form><form><mglyph><style></math><img src onerror=hits.push(12)>",
  "<object data=data&colon;text/html,x>",
  "<style>*{display:none}</style>",
  "<base href=//evil.example>",
  "<meta http-equiv=refresh content=0;url=//evil.example>",
  "\u202E<b>backwards</b>",
  "javascript&colon;hits.push(13)",
];

let upstream: ToolUpstream;
let proxy: LiveProxy;
let view: Bun.WebView;

beforeAll(async () => {
  if (browser === undefined) return;
  const tools = CORPUS.map((text, index): ToolDefinition => ({
    name: `tool${index}${text}`,
    title: text,
    description: `Does ${text}`,
    inputSchema: { type: "object", properties: { [text]: { type: "string", description: text } } },
  }));
  upstream = serveTools(tools);
  proxy = await openLiveProxy({
    api_key: KEY,
    groups: CORPUS.map((name, id) => ({ id, name: `${name} ${id}`, description: name })),
    mcpServers: [
      {
        name: "up",
        url: upstream.url,
        description: CORPUS.join(" "),
        group_id: 0,
        disabled_tools: tools.slice(0, 1).map(({ name }) => name),
      },
      {
        name: "held",
        protocol: "stdio",
        // What is not used must not hide what is.
        url: "https://harmless.example/mcp",
        command: "no-such-command",
        env: { LD_PRELOAD: "/tmp/x.so" },
        startup_mode: "quarantined",
      },
      {
        name: "loud",
        command: process.execPath,
        args: ["-e", `console.error(${JSON.stringify(CORPUS.join("\n"))});process.exit(3)`],
      },
      ...CORPUS.map((text, index) => ({
        name: `${index} ${text}`.replaceAll(":", ""),
        url: "http://127.0.0.1:9/mcp",
        startup_mode: "disabled",
        description: text,
      })),
    ],
  });
  const argv = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  view = new Bun.WebView({ width: 1200, height: 900, backend: { type: "chrome", path: browser, argv } });
}, TEST_MS);

afterAll(async () => {
  if (browser === undefined) return;
  view.close();
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** Waits until a script of the page says so. */
async function until(what: string, script: string): Promise<void> {
  await waitFor(what, async () => (await view.evaluate(script)) === true, WAIT_MS);
}

/** A click as the page hears it, on the first element that holds the text. */
function clickOn(selector: string, text: string): Promise<unknown> {
  const all = `[...document.querySelectorAll(${JSON.stringify(selector)})]`;
  return view.evaluate(`${all}.find((one) => one.textContent.includes(${JSON.stringify(text)})).click()`);
}

/** Puts a value into a field. */
async function give(...[id, value, type]: readonly [id: string, value: string, type: string]): Promise<void> {
  const field = `document.getElementById(${JSON.stringify(id)})`;
  await view.evaluate(
    `Object.assign(${field}, { value: ${JSON.stringify(value)} }).dispatchEvent(new Event("${type}"))`,
  );
}

const VISIBLE = `({ door: document.getElementById("door").checkVisibility(), main: document.getElementById("main").checkVisibility() })`;
const rowOf = (name: string): string => `document.querySelector('tr[data-server="${name}"]')`;

/** What ran, what was read as markup, and what is on the page from elsewhere. */
async function leftovers(): Promise<unknown> {
  return view.evaluate(`({
    hits,
    scripts: document.scripts.length,
    markup: document.querySelectorAll("img, svg, iframe, object, math, base, style, [onerror], [onload]").length,
    title: document.title,
  })`);
}

const NOTHING = { hits: [], scripts: 1, markup: 0, title: "mcpproxy" };

test.skipIf(browser === undefined)(
  "the page asks for the key once, shows every server, and follows what happens",
  async () => {
    verifies("PAGE-ESCAPES");
    await view.navigate(`${proxy.url()}/ui/`);
    await view.evaluate(
      "Object.assign(window, { hits: [], confirm: (text) => ((window.asked = text), true) }) && true",
    );
    expect(await view.evaluate(VISIBLE)).toEqual({ door: true, main: false });
    await view.click("#key");
    await view.type("wrong");
    await view.press("Enter");
    await until("the wrong key is refused", "/key/.test(document.getElementById('notice').textContent)");
    await view.click("#key");
    await view.type(KEY);
    await view.press("Enter");
    await until(
      "the servers are there",
      `document.querySelectorAll("#servers > tr").length === ${CORPUS.length + 3}`,
    );
    expect(
      await view.evaluate("sessionStorage.length + ' ' + localStorage.length + ' ' + document.cookie"),
    ).toBe("1 0 ");
    expect(await view.evaluate("location.href")).not.toContain(KEY);
    expect(await view.evaluate(VISIBLE)).toEqual({ door: false, main: true });
    expect(await leftovers()).toEqual(NOTHING);

    // The list is loaded again while the details are on their way.
    await view.evaluate(`((real) => {
      window.fetch = async (path, given) => {
        if (path.endsWith("/logs")) await new Promise((resolve) => setTimeout(resolve, 200));
        return real(path, given);
      };
    })(window.fetch)`);
    await clickOn("tr[data-server=up] .name", "up");
    await clickOn("tr[data-server=loud] .name", "loud");
    await give("group", "", "change");
    await until(
      "the details are there",
      "document.querySelectorAll('tr.details').length === 2 && document.querySelector('tr.details pre') !== null",
    );
    const text = await view.evaluate<string>("document.body.innerText");
    for (const part of CORPUS.slice(0, 12)) expect(text).toContain(part);
    expect(await view.evaluate("document.querySelector('tr.details pre').textContent")).toContain(
      CORPUS.at(-1),
    );
    expect(await view.evaluate("document.querySelectorAll('tr.details li').length")).toBe(CORPUS.length);
    const standings = "[...document.querySelectorAll('tr.details li .dim')].map((one) => one.textContent)";
    expect((await view.evaluate<string[]>(standings)).slice(0, 2)).toEqual(["off", "call_tool_write"]);
    expect(await leftovers()).toEqual(NOTHING);
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "the page switches servers, and filters them by category, group and text",
  async () => {
    verifies("PAGE-ESCAPES");
    await clickOn("tr[data-server=held] button", "approve");
    await until("it is approved", `${rowOf("held")}?.children[1].textContent === "disconnected"`);
    const asked = await view.evaluate<string>("window.asked");
    for (const part of ["no-such-command", "LD_PRELOAD"]) expect(asked).toContain(part);
    await clickOn("tr[data-server=up] button", "disable");
    await until("it is off", `${rowOf("up")}?.children[1].textContent === "disabled"`);
    await clickOn("tr[data-server=up] button", "enable");
    await until("it is on", `${rowOf("up")}?.children[1].textContent === "connected"`);
    await until("events are told", "document.querySelectorAll('#events li').length > 0");
    await clickOn("#categories button", "connected");
    await until("one category", `document.querySelectorAll("#servers > tr:not(.details)").length === 1`);
    await clickOn("#categories button", "connected");
    await view.click("#q");
    await view.type("loud");
    await until("one text", `document.querySelectorAll("#servers > tr:not(.details)").length === 1`);
    await give("q", "", "input");
    await until("all again", `document.querySelectorAll("#servers > tr:not(.details)").length > 10`);
    await give("group", "0", "change");
    await until("one group", `document.querySelectorAll("#servers > tr:not(.details)").length === 1`);
    // A change by somebody else arrives by itself.
    await proxy.ask("PATCH /servers/up", { description: "Told by an event" });
    await until("the change is there", `${rowOf("up")}?.textContent.includes("Told by an event")`);
    expect(await leftovers()).toEqual(NOTHING);
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "the page closes details, asks again for what failed, and brings nothing old back",
  async () => {
    await view.navigate(`${proxy.url()}/ui/?apikey=${KEY}`);
    await until("the servers are there", `${rowOf("up")} !== null`);
    // From now on these answers wait until the test lets them in; a text replaces the logs, `null` fails.
    await view.evaluate(`((real) => {
      const held = { list: [], logs: [] };
      const kindOf = (path) => (path.endsWith("/up/logs") ? "logs" : path.startsWith("/api/v1/servers?") ? "list" : "");
      window.waiting = (kind) => held[kind].length;
      window.letIn = (kind, at, text) => new Promise((done) => held[kind].splice(at, 1)[0]({ text, done }));
      window.fetch = async (path, given) => {
        const answer = await real(path, given);
        const kind = kindOf(path);
        if (kind === "") return answer;
        const body = await answer.json();
        const { text, done } = await new Promise((resolve) => held[kind].push(resolve));
        setTimeout(done, 0);
        if (text === null) throw new Error("No answer today");
        if (kind === "logs") body.data.logs = [text];
        return { status: 200, json: async () => body };
      };
    })(window.fetch)`);
    const details = `[...document.querySelectorAll("tr.details")].map((one) => one.previousElementSibling.dataset.server ?? "twice").join()`;
    const logs = `[...document.querySelectorAll("tr.details pre")].map((one) => one.textContent).join()`;
    const isNew = `${rowOf("up")}.textContent.includes("Newer than that")`;
    const clickOnUp = (): Promise<unknown> => clickOn("tr[data-server=up] .name", "up");
    const untilHeld = (kind: string, count: number): Promise<void> =>
      until(`${count} answers wait`, `window.waiting("${kind}") >= ${count}`);
    const letIn = (...given: readonly [kind: string, at: number, text?: string | null]): Promise<unknown> =>
      view.evaluate(`window.letIn(...${JSON.stringify(given)})`);
    /** The newest that waits, then those before it. */
    const letInNewestFirst = async (kind: string): Promise<void> => {
      const count = await view.evaluate<number>(`window.waiting("${kind}")`);
      await letIn(kind, count - 1, "newest");
      for (let older = 1; older < count; older += 1) await letIn(kind, 0, "older");
    };

    await clickOnUp();
    await untilHeld("logs", 1);
    await letIn("logs", 0, null);
    await until("it is told", "document.getElementById('notice').textContent === 'No answer today'");
    // Closed while its answer is on the way and opened again: that answer is nobody's.
    for (let click = 0; click < 3; click += 1) await clickOnUp();
    await untilHeld("logs", 2);
    await letIn("logs", 0, "of the one that was closed");
    expect(await view.evaluate(details)).toBe("");
    await letIn("logs", 0, "of the one that is open");
    expect([await view.evaluate(details), await view.evaluate(logs)]).toEqual([
      "up",
      "of the one that is open",
    ]);

    await give("group", "", "change");
    await untilHeld("list", 1);
    await proxy.ask("PATCH /servers/up", { description: "Newer than that" });
    const before = await view.evaluate<number>("window.waiting('list')");
    await give("group", "", "change");
    await untilHeld("list", before + 1);
    await letInNewestFirst("list");
    expect([await view.evaluate(isNew), await view.evaluate(details)]).toEqual([true, "up"]);

    // Each list asks for the details anew.
    await untilHeld("logs", 1);
    await give("group", "", "change");
    await untilHeld("list", 1);
    await letIn("list", 0);
    await untilHeld("logs", 2);
    await letInNewestFirst("logs");
    expect([await view.evaluate(details), await view.evaluate(logs)]).toEqual(["up", "newest"]);
    await clickOnUp();
    expect(await view.evaluate(details)).toBe("");
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "the page breaks no short word, and on a telephone it is as wide as the screen",
  async () => {
    await view.navigate(`${proxy.url()}/ui/?apikey=${KEY}`);
    await until("the servers are there", `${rowOf("up")} !== null`);
    const lines = `(() => {
      const rows = (all) => [...all].filter((one) => one.checkVisibility());
      const words = rows(document.querySelectorAll("th, td:nth-child(2), td:nth-child(3), button:not(.name)"));
      const heights = words.map((one) => {
        const range = document.createRange();
        range.selectNodeContents(one);
        return new Set([...range.getClientRects()].map(({ bottom }) => Math.round(bottom))).size;
      });
      const buttons = [...document.querySelectorAll("td:last-child")].map(
        (cell) => new Set([...cell.querySelectorAll("button")].map(({ offsetTop }) => offsetTop)).size,
      );
      return Math.max(...heights, ...buttons);
    })()`;
    const isWide = "document.documentElement.scrollWidth > innerWidth";
    /** Where the text of an element begins. */
    const left = (part: string): string => `(() => {
      const range = document.createRange();
      range.selectNodeContents(${rowOf("up")}.querySelector("${part}"));
      return Math.round(range.getBoundingClientRect().left);
    })()`;
    try {
      for (const width of [1280, 390]) {
        await view.resize(width, 900);
        expect([width, await view.evaluate(isWide), await view.evaluate(lines)]).toEqual([width, false, 1]);
        expect(await view.evaluate(`${left(".name")} === ${left(".dim")}`)).toBe(true);
      }
      await give("q", "nobody has this", "input");
      await until("it is said", "/No server matches/.test(document.getElementById('main').innerText)");
      await give("q", "", "input");
      await until("all again", `${rowOf("up")} !== null`);
      expect(await view.evaluate("/No server matches/.test(document.getElementById('main').innerText)")).toBe(
        false,
      );
    } finally {
      await view.resize(1200, 900);
    }
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "while the proxy is away the page says so and is grey, and goes on by itself when it is back",
  async () => {
    await using scene = openScene();
    const config = { api_key: KEY, mcpServers: [{ name: "up", url: upstream.url }] };
    await using first = await startProxy(scene, { config });
    await view.navigate(`${first.url}/ui/?apikey=${KEY}`);
    await until("it is connected", `${rowOf("up")}?.children[1].textContent === "connected"`);
    const isGrey = `Number(getComputedStyle(document.getElementById("servers")).opacity) < 1`;
    const notice = "document.getElementById('notice').textContent";
    expect(await view.evaluate(isGrey)).toBe(false);
    await first.kill();
    await until("it says so", `${notice} === "The proxy is away; trying again" && ${isGrey}`);
    await clickOn("tr[data-server=up] button", "disable");
    await until("a click changes nothing", `${notice} === "The proxy is away; trying again"`);
    const mcpServers = config.mcpServers.map((server) => ({ ...server, description: "Back again" }));
    const { host } = new URL(first.url);
    await using second = await startProxy(scene, { config: { ...config, mcpServers }, listen: host });
    expect(second.url).toBe(first.url);
    await until("it is as it is now", `${rowOf("up")}?.textContent.includes("Back again")`);
    expect(await view.evaluate(`[${notice}, ${isGrey}, document.getElementById("notice").hidden]`)).toEqual([
      "",
      false,
      true,
    ]);
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "a key in the address is taken out of it, and the policy stops what a page must not do",
  async () => {
    verifies("PAGE-CSP");
    await view.navigate(`${proxy.url()}/ui/?apikey=${KEY}`);
    await until("the servers are there", `document.querySelectorAll("#servers > tr").length > 0`);
    expect(await view.evaluate("location.href")).toBe(`${proxy.url()}/ui/`);
    const tried = await view.evaluate(`(async () => {
      const hits = (window.hits = []);
      const sinks = [];
      const stopped = new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
          if (effectiveDirective === "connect-src") resolve(effectiveDirective);
        });
      });
      const script = document.createElement("script");
      try { script.text = "hits.push(1)"; document.body.append(script); } catch { sinks.push("script"); }
      try { document.body.innerHTML = "<b>x</b>"; } catch { sinks.push("innerHTML"); }
      await fetch("http://127.0.0.1:9/").catch(() => sinks.push("fetch"));
      return { hits, sinks, stopped: await stopped };
    })()`);
    expect(tried).toEqual({ hits: [], sinks: ["script", "innerHTML", "fetch"], stopped: "connect-src" });
  },
  TEST_MS,
);

test.skipIf(browser === undefined)(
  "the reference shows every route, finds words in it, and opens one",
  async () => {
    verifies("PAGE-CSP");
    await view.navigate(`${proxy.url()}/docs`);
    await until("the routes are there", "document.querySelectorAll('details').length > 100");
    await view.click("#q");
    await view.type("quarantine approve");
    await until(
      "some are left",
      "[...document.querySelectorAll('details')].filter((one) => !one.hidden).length < 30",
    );
    await view.evaluate("(document.getElementById('approveServer').open = true)");
    await until(
      "its answer is there",
      "/restart_required/.test(document.getElementById('approveServer').textContent)",
    );
    expect(await view.evaluate("document.scripts.length")).toBe(1);
  },
  TEST_MS,
);
