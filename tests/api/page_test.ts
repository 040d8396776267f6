/**
 * Pages: what a browser may do there, that nothing comes from elsewhere, and the switch that takes them away.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openGateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const HEADERS = { host: "localhost", accept: "text/html" };
const PAGES = ["/ui/", "/ui/page.js", "/ui/page.css", "/docs", "/docs/reference.js", "/docs/reference.css"];
const FOLDER = join(import.meta.dir, "../../src/ui");
const SOURCES = [...new Bun.Glob("*").scanSync({ cwd: FOLDER })].map((name) => [
  name,
  readFileSync(join(FOLDER, name), "utf8"),
]) as [name: string, text: string][];

test.each(PAGES)("GET %s needs no key, and forbids all that a page does not do", async (path) => {
  verifies("PAGE-CSP");
  await using gateway = await openGateway([]);
  const response = await gateway.app().request(path, { headers: HEADERS });
  expect(response.status).toBe(200);
  const policy = new Map(
    (response.headers.get("content-security-policy") ?? "").split("; ").map((rule) => {
      const [name = "", ...values] = rule.split(" ");
      return [name, values.join(" ")] as const;
    }),
  );
  expect(Object.fromEntries(policy)).toEqual({
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
  });
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
  expect(response.headers.get("referrer-policy")).toBe("no-referrer");
  const types = { js: "text/javascript", ss: "text/css" } as Readonly<Record<string, string>>;
  expect(response.headers.get("content-type")).toStartWith(types[path.slice(-2)] ?? "text/html");
  const foreign = await gateway.app().request(path, { headers: { ...HEADERS, host: "evil.example" } });
  expect(foreign.status).toBe(403);
});

test.each(SOURCES)("src/ui/%s comes from here alone, and puts texts in as texts", (name, text) => {
  verifies("PAGE-CSP", "PAGE-ESCAPES");
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  expect(code).not.toMatch(/https?:|["'(]\/\/|@import|url\(/);
  expect(code).not.toMatch(
    /innerHTML|outerHTML|insertAdjacent|document\.write|srcdoc|DOMParser|createContextual/,
  );
  expect(code).not.toMatch(
    /\beval\b|new Function|set(?:Timeout|Interval)\(["'`]|localStorage|document\.cookie/,
  );
  if (!name.endsWith(".html")) return;
  expect(code).not.toMatch(/<style|\son\w+=|\sstyle=|javascript:/);
  for (const [tag] of code.matchAll(/<script[^>]*>[^<]*/g))
    expect(tag).toMatch(/ src="\/(?:ui|docs)\/[a-z]+\.js">$/);
});

test("every file that a page asks for is served", async () => {
  verifies("PAGE-CSP");
  await using gateway = await openGateway([]);
  const wanted = SOURCES.filter(([name]) => name.endsWith(".html")).flatMap(([, text]) =>
    [...text.matchAll(/(?:src|href)="(\/[^"]*)"/g)].map(([, path = ""]) => path),
  );
  expect(wanted.length).toBeGreaterThan(5);
  for (const path of new Set(wanted)) {
    const { status } = await gateway.app().request(path, { headers: HEADERS });
    expect({ path, status }).toEqual({ path, status: 200 });
  }
});

test.each([
  ["a browser at /", "/", "text/html,application/xhtml+xml", 302, "/ui/"],
  ["a browser at /ui", "/ui", "text/html", 302, "/ui/"],
  ["an MCP client at /", "/", "application/json, text/event-stream", 404, null],
  ["a file that is none", "/ui/nothing.js", "*/*", 404, null],
  ["a way out of the folder", "/ui/..%2fpage.js", "*/*", 404, null],
  ["a file of the other page", "/docs/page.js", "*/*", 404, null],
])("GET for %s", async (...[, path, accept, status, location]) => {
  verifies("PAGE-SWITCH");
  await using gateway = await openGateway([]);
  const response = await gateway.app().request(path, { headers: { host: "localhost", accept } });
  expect([response.status, response.headers.get("location")]).toEqual([status, location]);
  if (status === 404)
    expect(await response.json()).toMatchObject({
      code: "ROUTE_UNKNOWN",
      hint: expect.stringContaining("/mcp") as string,
    });
});

test("with features.enable_web_ui false there is no page, and nothing tells of one", async () => {
  verifies("PAGE-SWITCH");
  await using gateway = await openGateway([], { settings: { enableWebUi: false } });
  const app = gateway.app();
  for (const path of ["/", "/ui", "/ui/", "/ui/page.js"]) {
    const response = await app.request(path, { headers: HEADERS });
    expect({ path, status: response.status }).toEqual({ path, status: 404 });
  }
  expect((await app.request("/docs", { headers: HEADERS })).status).toBe(200);
});
