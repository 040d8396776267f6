/**
 * Every route of the proxy.
 *
 * Owns the one table that the OpenAPI document, the typed client and the tests of routes are made of. Invariant: a route
 * that is not in it, and an entry without a route, fail a test.
 */
import { ACTIVITY_ROUTES } from "./reference_activity.ts";
import { CONFIG_ROUTES } from "./reference_config.ts";
import { EVENT_ROUTES } from "./reference_events.ts";
import { GROUP_ROUTES } from "./reference_groups.ts";
import { IMPORT_ROUTES } from "./reference_import.ts";
import { INSIGHT_ROUTES } from "./reference_insight.ts";
import { MCP_ROUTES } from "./reference_mcp.ts";
import { PAGE_ROUTES } from "./reference_pages.ts";
import { SERVER_ROUTES } from "./reference_servers.ts";
import { STATUS_ROUTES } from "./reference_status.ts";
import { TOKEN_ROUTES } from "./reference_tokens.ts";
import { TOOL_ROUTES } from "./reference_tools.ts";

/** Routes by method and path. */
export const REFERENCE = {
  ...STATUS_ROUTES,
  ...SERVER_ROUTES,
  ...GROUP_ROUTES,
  ...TOOL_ROUTES,
  ...CONFIG_ROUTES,
  ...IMPORT_ROUTES,
  ...TOKEN_ROUTES,
  ...ACTIVITY_ROUTES,
  ...EVENT_ROUTES,
  ...INSIGHT_ROUTES,
  ...MCP_ROUTES,
  ...PAGE_ROUTES,
} as const;

/** The type of {@link REFERENCE}, for clients. */
export type Reference = typeof REFERENCE;
