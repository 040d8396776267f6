/**
 * Whether tools can be called, before anybody calls them.
 *
 * Owns the reasons for which a call would wait or fail, in the order in which it would meet them, and the verdict: ready,
 * degraded (it comes by itself), blocked (a person has to act), unknown (no such thing). Invariants: looking connects
 * nothing; what a principal may not reach is unknown to it; a quarantined server's tools are not looked at. Trying the
 * call was rejected: tools have effects.
 */
import type { Catalog } from "../catalog/catalog.ts";
import { isOffered } from "../catalog/policy.ts";
import { ProxyError } from "../core/errors.ts";
import { splitToolId } from "../core/model.ts";
import { ADMIN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import { nearestWord } from "../lib/nearest.ts";
import { isRetriable } from "../upstream/link.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import type { Finder } from "./finder.ts";
import { mayCall } from "./permission.ts";

/** How a call would fare, the best first. */
export const VERDICTS = ["ready", "degraded", "blocked", "unknown"] as const;
/** One of {@link VERDICTS}. */
export type Verdict = (typeof VERDICTS)[number];

/** Why a call would wait or fail. */
export type ReasonCode =
  | "ID_MALFORMED"
  | "SERVER_UNKNOWN"
  | "SERVER_FAULTY"
  | "SERVER_DISABLED"
  | "SERVER_QUARANTINED"
  | "SERVER_AUTO_DISABLED"
  | "SERVER_STOPPED"
  | "SERVER_FAILED"
  | "SERVER_CONNECTING"
  | "SERVER_SLEEPING"
  | "LOGIN_NEEDED"
  | "TOOLS_UNREAD"
  | "TOOL_UNKNOWN"
  | "TOOL_SWITCHED_OFF"
  | "SCOPE_REFUSED"
  | "READ_ONLY_MODE";

/** One reason. */
export interface Reason {
  readonly code: ReasonCode;
  readonly verdict: Exclude<Verdict, "ready">;
  readonly message: string;
  /** A command or a setting. */
  readonly hint: string;
  /** The Go proxy's word for what a person should do. */
  readonly action?: "approve" | "enable" | "login" | "configure" | "restart" | "view_logs";
}

/** What is said of one tool (keys as on the wire). */
export interface ToolVerdict {
  readonly id: string;
  readonly status: Verdict;
  /** `READY`, or the code of the reason that counts. */
  readonly code: ReasonCode | "READY";
  readonly reason: string;
  readonly hint: string;
  readonly action?: Reason["action"];
  readonly did_you_mean?: readonly string[];
}

/** What is said of all of them; `status` is the worst. */
export interface PreflightAnswer {
  readonly status: Verdict;
  readonly tools: readonly ToolVerdict[];
}

/** What a {@link preflight} looks at. */
export interface PreflightDeps {
  readonly upstreams: Pick<Upstreams, "find" | "list">;
  readonly catalog: Pick<Catalog, "find" | "count">;
  readonly finder: Finder;
  readonly settings: () => Settings;
}

/** Most ids of one question. */
const MAX_IDS = 1_000;
const MAX_SHOWN_CHARS = 300;
const MAX_MEANT = 3;

/**
 * Looks at tools, or at whole servers where an id is a server's name.
 *
 * @throws {ProxyError} `USAGE` when there are none, or too many.
 */
export function preflight(
  ids: readonly string[],
  deps: PreflightDeps & { readonly principal?: Principal | undefined },
): PreflightAnswer {
  if (ids.length === 0 || ids.length > MAX_IDS) {
    throw new ProxyError("USAGE", `Cannot look at ${ids.length} tools: name 1 to ${MAX_IDS}`, {
      hint: "Send ids of the form 'server:tool', or names of servers",
    });
  }
  const tools = ids.map((id) => judge(id, deps));
  const worst = Math.max(...tools.map(({ status }) => VERDICTS.indexOf(status)));
  return { status: VERDICTS[worst] ?? "unknown", tools };
}

function judge(
  id: string,
  deps: PreflightDeps & { readonly principal?: Principal | undefined },
): ToolVerdict {
  const shown = shortened(id);
  const reasons = reasonsFor(id, deps);
  const worst = VERDICTS.findLast((verdict) => reasons.some((reason) => reason.verdict === verdict));
  const reason = reasons.find(({ verdict }) => verdict === worst);
  if (reason === undefined) {
    return { id: shown, status: "ready", code: "READY", reason: "It can be called now", hint: "" };
  }
  const { code, verdict, message, hint, action } = reason;
  const meant = verdict === "unknown" ? meantBy(id, deps) : [];
  return {
    id: shown,
    status: verdict,
    code,
    reason: message,
    hint,
    ...(action === undefined ? {} : { action }),
    ...(meant.length === 0 ? {} : { did_you_mean: meant }),
  };
}

/** All that stands in the way of a call, in the order in which the call would meet it; nothing when it may go. */
export function reasonsFor(
  id: string,
  deps: PreflightDeps & { readonly principal?: Principal | undefined },
): readonly Reason[] {
  const { upstreams, finder, principal = ADMIN } = deps;
  const parts = splitToolId(id);
  const name = parts?.server ?? id;
  const upstream = finder.mayReach(principal, name) ? upstreams.find(name) : undefined;
  if (upstream === undefined) return [parts === undefined ? malformed(id) : unknownServer(name)];
  const ofServer = reasonsOfServer(upstream);
  if (parts === undefined || upstream.mode === "quarantined") return ofServer;
  return [...ofServer, ...reasonsOfTool(id, { ...deps, principal, upstream, tool: parts.tool })];
}

/** Ids, or names of servers, that may have been meant; only of what the asker may reach. */
export function meantBy(
  id: string,
  { finder, upstreams, principal = ADMIN }: PreflightDeps & { readonly principal?: Principal | undefined },
): readonly string[] {
  const ids = finder.suggest(id, principal).slice(0, MAX_MEANT);
  if (id.includes(":")) return ids;
  const names = upstreams.list().map(({ server }) => server.name);
  const near = nearestWord(
    id,
    names.filter((name) => finder.mayReach(principal, name)),
  );
  return near === undefined ? ids : [near, ...ids];
}

function malformed(id: string): Reason {
  return {
    code: "ID_MALFORMED",
    verdict: "unknown",
    message: `'${shortened(id)}' is neither a server nor an id of the form 'server:tool'`,
    hint: "Take the 'id' that 'mcpproxy tools list' shows",
  };
}

function unknownServer(name: string): Reason {
  return {
    code: "SERVER_UNKNOWN",
    verdict: "unknown",
    message: `There is no server named '${shortened(name)}'`,
    hint: "List the servers with 'mcpproxy servers list'",
  };
}

/** What keeps a server from taking a call. */
function reasonsOfServer(upstream: Upstream): readonly Reason[] {
  const { server, mode, status } = upstream;
  const faults = server.faults.map((fault): Reason => ({
    code: "SERVER_FAULTY",
    verdict: "blocked",
    message: `The entry of '${server.name}' has a fault: ${fault.message}`,
    hint: fault.advice,
    action: "configure",
  }));
  const off = offReason(upstream);
  if (off !== undefined) return [off, ...faults];
  if (faults.length > 0) return faults;
  if (status.isStopped) {
    return [
      {
        code: "SERVER_STOPPED",
        verdict: "blocked",
        message: `'${server.name}' was stopped by an operator`,
        hint: `Run mcpproxy servers connect '${server.name}'`,
        action: "restart",
      },
    ];
  }
  const waiting = waitingReason(upstream, mode === "lazy_loading" || upstream.category === "sleeping");
  return waiting === undefined ? [] : [waiting];
}

function offReason({ server, mode, status }: Upstream): Reason | undefined {
  const { name } = server;
  if (mode === "quarantined") {
    return {
      code: "SERVER_QUARANTINED",
      verdict: "blocked",
      message: `'${name}' is quarantined: nobody approved what it starts`,
      hint: `Look at its entry, then run mcpproxy servers approve '${name}'`,
      action: "approve",
    };
  }
  if (mode !== "disabled" && mode !== "auto_disabled") return undefined;
  const enable = `Run mcpproxy servers enable '${name}'`;
  if (mode === "disabled") {
    const message = `'${name}' is disabled`;
    return { code: "SERVER_DISABLED", verdict: "blocked", message, hint: enable, action: "enable" };
  }
  const why = status.autoDisabled?.reason ?? "it failed too often";
  const { hint = "" } = status.failure ?? {};
  return {
    code: "SERVER_AUTO_DISABLED",
    verdict: "blocked",
    message: `'${name}' was auto-disabled: ${why}`,
    hint: hint === "" ? enable : `${hint}; then: ${enable}`,
    action: "enable",
  };
}

/** A server that is on and not ready. */
function waitingReason({ server, connection, status }: Upstream, isSleepy: boolean): Reason | undefined {
  if (connection === "ready") return undefined;
  const { failure, nextAttemptAt, isTrying } = status;
  if (failure !== undefined && !isRetriable(failure)) {
    const isLogin = failure.class === "auth";
    return {
      code: isLogin ? "LOGIN_NEEDED" : "SERVER_FAILED",
      verdict: "blocked",
      message: failure.message,
      hint: failure.hint,
      action: isLogin ? "login" : "configure",
    };
  }
  if (failure !== undefined) {
    const at = nextAttemptAt === undefined ? "" : ` at ${new Date(nextAttemptAt).toISOString()}`;
    const again = isTrying ? "it is tried again right now" : `it is tried again${at || " by the next call"}`;
    const message = `${failure.message}; ${again}`;
    return { code: "SERVER_FAILED", verdict: "degraded", message, hint: failure.hint, action: "view_logs" };
  }
  const { name } = server;
  if (isSleepy && !isTrying) {
    const message = `'${name}' sleeps: the first call connects it`;
    return { code: "SERVER_SLEEPING", verdict: "degraded", message, hint: "Call it all the same" };
  }
  const hint = "A call waits for it; 'mcpproxy servers list' shows how it stands";
  return { code: "SERVER_CONNECTING", verdict: "degraded", message: `'${name}' is connecting`, hint };
}

interface ToolContext extends PreflightDeps {
  readonly principal: Principal;
  readonly upstream: Upstream;
  readonly tool: string;
}

function reasonsOfTool(id: string, context: ToolContext): readonly Reason[] {
  const { catalog, finder, settings, principal, upstream, tool } = context;
  const { name } = upstream.server;
  const known = catalog.find(id);
  const reasons: Reason[] = [];
  if (!isOffered(upstream.server, tool)) {
    reasons.push({
      code: "TOOL_SWITCHED_OFF",
      verdict: "blocked",
      message: `'${shortened(tool)}' is switched off for '${name}'`,
      hint: "See 'enabled_tools' and 'disabled_tools' of the server's entry",
      action: "configure",
    });
  }
  if (known === undefined) return [...reasons, missing(context)];
  const callWith = finder.callWith(known);
  if (!mayCall(principal, callWith)) {
    reasons.push({
      code: "SCOPE_REFUSED",
      verdict: "blocked",
      message: `The token does not permit '${callWith.slice("call_tool_".length)}'`,
      hint: "Ask the operator for a token with that permission",
    });
  }
  if (settings().readOnlyMode && callWith !== "call_tool_read") {
    reasons.push({
      code: "READ_ONLY_MODE",
      verdict: "blocked",
      message: "The proxy is in read-only mode, and the tool is not marked read-only",
      hint: "Set 'read_only_mode' to false in the configuration file",
      action: "configure",
    });
  }
  return reasons;
}

/** Of a server that was never read, any tool may be there. */
function missing({ catalog, upstream, tool }: ToolContext): Reason {
  const { name } = upstream.server;
  const isUnread = catalog.count(name) === 0 && upstream.connection !== "ready";
  if (isUnread) {
    return {
      code: "TOOLS_UNREAD",
      verdict: "degraded",
      message: `The tools of '${name}' were not read yet`,
      hint: "They are read when it connects; a call connects it",
    };
  }
  return {
    code: "TOOL_UNKNOWN",
    verdict: "unknown",
    message: `'${name}' has no tool named '${shortened(tool)}'`,
    hint: `List its tools with 'mcpproxy tools list --server "${name}"'`,
  };
}

function shortened(text: string): string {
  return text.length <= MAX_SHOWN_CHARS ? text : `${text.slice(0, MAX_SHOWN_CHARS)}…`;
}
