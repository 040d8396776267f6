/**
 * What people look at: the operator's page, the reference as a page, and the OpenAPI document.
 *
 * Owns their routes and what a browser may do there. Invariants: nothing of it is read before it is asked for; nothing
 * comes from anywhere else, and no text in a page is ever markup or script; a page needs no key and holds no data, it
 * asks for them with the key. Bun's own HTML routes were rejected: they go round Host and Origin checks and the policy.
 */
import { Hono } from "hono";
import type { Context } from "hono";

import { ProxyError } from "../core/errors.ts";
import type { Settings } from "../core/settings.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of pages read. */
export interface PageDeps {
  readonly settings: () => Settings;
}

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");
const HEADERS = {
  "Content-Security-Policy": POLICY,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Cache-Control": "no-cache",
} as const;
const TYPES = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
} as const;

/** Makes the routes of pages, to be mounted at the root. */
export function pageRoutes(deps: PageDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/openapi.json", async (context) => {
    const { openApiDocument } = await import("./openapi.ts");
    return context.json(openApiDocument(), 200, { "X-Content-Type-Options": "nosniff" });
  });
  routes.get("/docs", async (context) => send(context, "html", await readDocsFile("index.html")));
  routes.get("/docs/:file", (context) => sendFile(context, readDocsFile));
  routes.get("/ui/", async (context) => {
    assertOn(context, deps);
    return send(context, "html", await readUiFile("index.html"));
  });
  routes.get("/ui/:file", (context) => {
    assertOn(context, deps);
    return sendFile(context, readUiFile);
  });
  routes.get("/ui", (context) => {
    assertOn(context, deps);
    return context.redirect("/ui/");
  });
  routes.get("/", (context) => {
    const isBrowser = (context.req.header("accept") ?? "").includes("text/html");
    if (isBrowser && deps.settings().enableWebUi) return context.redirect("/ui/");
    throw unknown(context);
  });
  return routes;
}

/** Each is its own module, so that the binary holds it and the start does not read it. */
async function readUiFile(name: string): Promise<string | undefined> {
  switch (name) {
    case "index.html":
      return textOf(await import("../ui/page.html", { with: { type: "text" } }));
    case "page.js":
      return textOf(await import("../ui/page.js", { with: { type: "text" } }));
    case "page.css":
      return textOf(await import("../ui/page.css", { with: { type: "text" } }));
    default:
      return undefined;
  }
}

async function readDocsFile(name: string): Promise<string | undefined> {
  switch (name) {
    case "index.html":
      return textOf(await import("../ui/reference.html", { with: { type: "text" } }));
    case "reference.js":
      return textOf(await import("../ui/reference.js", { with: { type: "text" } }));
    case "reference.css":
      return textOf(await import("../ui/reference.css", { with: { type: "text" } }));
    default:
      return undefined;
  }
}

/** What is imported as text is text, whatever the suffix says to the type checker. */
function textOf(module: unknown): string {
  return (module as { readonly default: string }).default;
}

async function sendFile(
  context: Context<ApiEnv>,
  read: (name: string) => Promise<string | undefined>,
): Promise<Response> {
  const name = context.req.param("file") ?? "";
  const suffix = /^[a-z]+\.(js|css)$/.exec(name)?.[1] as "js" | "css" | undefined;
  return send(context, suffix ?? "html", suffix === undefined ? undefined : await read(name));
}

function send(context: Context<ApiEnv>, type: keyof typeof TYPES, text: string | undefined): Response {
  if (text === undefined) throw unknown(context);
  return context.body(text, 200, { ...HEADERS, "Content-Type": TYPES[type] });
}

function assertOn(context: Context<ApiEnv>, { settings }: PageDeps): void {
  if (!settings().enableWebUi)
    throw unknown(context, "Set 'features.enable_web_ui' to true to have the page");
}

function unknown(context: Context<ApiEnv>, hint?: string): ProxyError {
  return new ProxyError("ROUTE_UNKNOWN", `Cannot find '${context.req.method} ${context.req.path}'`, {
    hint: hint ?? "MCP clients connect to /mcp; the admin API is below /api/v1, its reference at /docs",
  });
}
