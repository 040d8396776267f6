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
      { name: "up", url: upstream.url, description: CORPUS.join(" "), group_id: 0 },
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
    const details = `[...document.querySelectorAll("tr.details")].map((one) => one.previousElementSibling.dataset.server).join()`;
    await give("group", "", "change");
    await until("all again, with what was open", `${details} === "up,loud"`);
    await clickOn("tr[data-server=up] .name", "up");
    expect(await view.evaluate(details)).toBe("loud");
    // The next answer about logs fails, the next list comes when a newer one is there.
    await view.evaluate(`((real) => {
      const next = {
        logs: async () => { throw new Error("No logs today"); },
        list: async (answer) => {
          window.late = "waits";
          await new Promise((resolve) => { window.letIn = resolve; });
          window.late = "in";
          return answer;
        },
      };
      const once = (key) => { const hook = next[key]; delete next[key]; return hook; };
      window.fetch = async (path, given) => {
        if (path.endsWith("/up/logs")) await once("logs")?.();
        const answer = await real(path, given);
        return (path.startsWith("/api/v1/servers?") && (await once("list")?.(answer))) || answer;
      };
    })(window.fetch)`);
    await clickOn("tr[data-server=up] .name", "up");
    await until("it is told", "document.getElementById('notice').textContent === 'No logs today'");
    expect(await view.evaluate(details)).toBe("loud");
    await clickOn("tr[data-server=up] .name", "up");
    await until("it is asked again", `${details} === "up,loud"`);
    await give("group", "", "change");
    await until("the list is on its way", "window.late === 'waits'");
    await proxy.ask("PATCH /servers/up", { description: "Newer than that" });
    const isNew = `${rowOf("up")}.textContent.includes("Newer than that")`;
    await until("the change is there", isNew);
    await view.evaluate("window.letIn()");
    await until("the older list is in", "window.late === 'in'");
    await view.evaluate("new Promise((resolve) => setTimeout(resolve, 100))");
    expect(await view.evaluate(isNew)).toBe(true);
    expect(await view.evaluate(details)).toBe("up,loud");
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
