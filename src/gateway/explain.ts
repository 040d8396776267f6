/**
 * Why a tool is missing, or was not found.
 *
 * Owns putting together what the rules of a call say of one tool and how it fares in a search. Invariants: it tells what
 * a call and a search would do now, by their own code; it reveals nothing that the asker could not find by calling.
 * Reasons noted down while searching were rejected: each search would pay for a question that is seldom asked.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import type { SearchExplanation } from "../catalog/search.ts";
import { splitToolId } from "../core/model.ts";
import type { CallVariant } from "../core/model.ts";
import { ADMIN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import { MAX_FOUND } from "./finder.ts";
import { meantBy, reasonsFor } from "./preflight.ts";
import type { PreflightDeps, Reason } from "./preflight.ts";

/** What is asked. */
export interface ExplainRequest {
  /** `server:tool`. */
  readonly id: string;
  /** The words it was not found with. */
  readonly query?: string | undefined;
  /** How many hits the search was asked for. @default `tools_limit` */
  readonly limit?: number | undefined;
  readonly principal?: Principal | undefined;
}

/** What {@link explainTool} looks at. */
export interface ExplainDeps extends PreflightDeps {
  readonly catalog: Pick<Catalog, "find" | "count" | "isStale">;
  /** The outward name a tool has where it is called directly, and the tool that has the name already. */
  readonly directNameOf?: (id: string) => { readonly name: string; readonly takenBy?: string } | undefined;
}

/** One reason (keys as on the wire). */
export interface ExplainedReason {
  readonly code:
    | Reason["code"]
    | "NOT_INDEXED"
    | "NO_MATCH"
    | "BELOW_LIMIT"
    | "TOOL_STALE"
    | "DIRECT_NAME_TAKEN";
  readonly message: string;
  readonly hint: string;
}

/** How a tool stands (keys as on the wire). */
export interface Explanation {
  readonly id: string;
  /** Whether a search can find it; with a query: whether that one does. */
  readonly is_found: boolean;
  readonly is_callable: boolean;
  readonly reasons: readonly ExplainedReason[];
  readonly server?: {
    readonly name: string;
    readonly category: string;
    readonly startup_mode: string;
    readonly connection_state: string;
  };
  readonly call_with?: CallVariant;
  readonly search?: ExplainedSearch;
  readonly did_you_mean?: readonly string[];
}

/** How it fares in the search (keys as on the wire). */
export interface ExplainedSearch {
  readonly query: string;
  readonly limit: number;
  /** How many tools match. */
  readonly total: number;
  readonly rank?: number;
  readonly score: number;
  /** The score of the last hit within the limit. */
  readonly threshold?: number;
  /** `score` = `match` × `coverage` × `name`; `match` is the sum of the words' scores. */
  readonly parts: SearchExplanation["parts"];
}

/** Of these, not even whether the tool exists is told. */
const HIDING: ReadonlySet<Reason["code"]> = new Set(["ID_MALFORMED", "SERVER_UNKNOWN", "SERVER_QUARANTINED"]);
const NOT_INDEXED: ExplainedReason = {
  code: "NOT_INDEXED",
  message: "It is known, and not in the search index yet",
  hint: "Search again in a moment; if it stays so, restart the server",
};

/** Says how a tool stands, and why it is not found or cannot be called. */
export function explainTool(request: ExplainRequest, deps: ExplainDeps): Explanation {
  const { id, principal } = request;
  const asked = { ...deps, ...(principal === undefined ? {} : { principal }) };
  const held = reasonsFor(id, asked);
  const isHidden = held.some(({ code }) => HIDING.has(code));
  const tool = isHidden ? undefined : deps.catalog.find(id);
  const isOnOffer =
    tool !== undefined && deps.finder.list({ server: tool.server, principal }).some((one) => one.id === id);
  const query = request.query?.trim() || undefined;
  const limit = Math.min(Math.max(1, request.limit ?? deps.settings().toolsLimit), MAX_FOUND);
  const words = query ?? tool?.name ?? "";
  const fared = isOnOffer ? deps.finder.explain(id, { query: words, limit, principal }) : undefined;
  const searched = query === undefined || fared === undefined ? undefined : { query, limit, ...fared };
  const meant = held.some(({ verdict }) => verdict === "unknown") ? meantBy(id, asked) : [];
  return {
    id,
    is_found: fared !== undefined && (searched === undefined || (searched.rank ?? Infinity) <= limit),
    is_callable: tool !== undefined && held.every(({ verdict }) => verdict === "degraded"),
    reasons: [
      ...held.map(({ code, message, hint }) => ({ code, message, hint })),
      ...(isOnOffer && fared === undefined ? [NOT_INDEXED] : []),
      ...(searched === undefined ? [] : searchReasons(searched)),
      ...(tool === undefined ? [] : sideReasons(tool, asked)),
    ],
    ...(held.some(({ code }) => code === "SERVER_UNKNOWN") ? {} : serverOf(id, deps)),
    ...(tool === undefined ? {} : { call_with: deps.finder.callWith(tool) }),
    ...(searched === undefined ? {} : { search: searched }),
    ...(meant.length === 0 ? {} : { did_you_mean: meant }),
  };
}

function serverOf(id: string, { upstreams }: ExplainDeps): Pick<Explanation, "server"> {
  const upstream = upstreams.find(splitToolId(id)?.server ?? id);
  if (upstream === undefined) return {};
  const { server, mode, connection, category } = upstream;
  return { server: { name: server.name, category, startup_mode: mode, connection_state: connection } };
}

/** Why a search does not show what it could. */
function searchReasons({
  rank,
  score,
  threshold,
  limit,
  total,
  query,
  parts,
}: ExplainedSearch): ExplainedReason[] {
  if (rank === undefined) {
    const words = parts.words.map(({ word }) => `'${word}'`).join(", ");
    const message =
      words === ""
        ? `The query '${query}' has no words to search for`
        : `No word of the query is in the tool's name, description, parameters or server: ${words}`;
    return [{ code: "NO_MATCH", message, hint: "Use words of the tool's description" }];
  }
  if (rank <= limit) return [];
  const needed = threshold === undefined ? "" : `; the last one shown has ${rounded(threshold)}`;
  return [
    {
      code: "BELOW_LIMIT",
      message: `It is number ${rank} of ${total} with the score ${rounded(score)}, and ${limit} are shown${needed}`,
      hint: "Ask for more with 'limit', narrow the search with 'server', or name what the tool does",
    },
  ];
}

/** What does not stand in the way, but may explain a surprise. */
function sideReasons(
  tool: KnownTool,
  { catalog, directNameOf, finder, principal = ADMIN }: ExplainDeps & { readonly principal?: Principal },
): ExplainedReason[] {
  const reasons: ExplainedReason[] = [];
  if (catalog.isStale(tool.server)) {
    reasons.push({
      code: "TOOL_STALE",
      message: `It is shown as '${tool.server}' had it when it was last connected`,
      hint: "It is read anew when the server connects",
    });
  }
  const direct = directNameOf?.(tool.id);
  if (direct?.takenBy !== undefined) {
    // Of a server the asker may not reach, the tool is not named.
    const isKnown = finder.mayReach(principal, splitToolId(direct.takenBy)?.server ?? "");
    const other = isKnown ? `'${direct.takenBy}'` : "another tool";
    reasons.push({
      code: "DIRECT_NAME_TAKEN",
      message: `Where tools are called directly it is left out: its name '${direct.name}' is that of ${other}`,
      hint: "Rename one of the two servers, or call it by its id at /mcp",
    });
  }
  return reasons;
}

function rounded(score: number): number {
  return Math.round(score * 1_000) / 1_000;
}
