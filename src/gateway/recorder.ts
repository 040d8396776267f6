/**
 * What is written down of a call, an operator's change, and a move of the proxy's own.
 *
 * Owns the words of the record, which are the Go proxy's, and what of a call is kept: arguments, masked and cut, and
 * what went wrong. Invariants: nothing secret gets in; noting happens after the answer, never fails, and costs the
 * same however large a call was. Results are not kept: they are the upstream's data, and nobody can mask them.
 */
import { ERRORS, toProxyError } from "../core/errors.ts";
import type { ErrorCode, ProxyError } from "../core/errors.ts";
import type { EventType, ProxyEvent } from "../core/events.ts";
import type { JsonObject } from "../core/model.ts";
import { splitToolId } from "../core/model.ts";
import { excerptOf, excerptOfText } from "../lib/excerpt.ts";
import type { Excerpt } from "../lib/excerpt.ts";
import type { Activity, ActivityEntry, ActivityStatus } from "../state/activity.ts";
import type { CallOrigin, CallReport } from "./caller.ts";

const ARGUMENTS_CHARS = 2_000;
const MESSAGE_CHARS = 500;
const NAME_CHARS = 200;
/** Names whose shown form is remembered; beyond that it is made each time. */
const MAX_CLIENTS = 1_000;
/** What the proxy itself refused. */
const BLOCKED: ReadonlySet<ErrorCode> = new Set([
  "MODE_REFUSED",
  "QUARANTINED",
  "SERVER_OFF",
  "TOOL_REFUSED",
]);

/** A call of one of the proxy's own tools that ended. */
export interface MetaCallReport {
  readonly tool: string;
  readonly args: JsonObject;
  readonly origin: CallOrigin | undefined;
  readonly durationMs: number;
  readonly error?: unknown;
}

/** Something an operator did. */
export interface OperatorChange {
  readonly type: "config_change" | "group_change" | "quarantine_change" | "server_change" | "admin_action";
  /** As in `restart`. */
  readonly action: string;
  readonly server?: string | undefined;
  readonly origin: CallOrigin;
  readonly durationMs: number;
  readonly error?: unknown;
  /** Plain facts. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Options of {@link Recorder}. */
export interface RecorderOptions {
  readonly activity: Activity;
  /** Hides in a text the secrets of a server's entry. @default only what looks like a secret is hidden */
  readonly redact?: (server: string, text: string) => string;
}

/** Writes down what is done. */
export class Recorder {
  readonly #activity: Activity;
  readonly #redact: (server: string, text: string) => string;
  /** Names of clients as they are shown. */
  readonly #clients = new Map<string, string>();

  constructor(options: RecorderOptions) {
    this.#activity = options.activity;
    this.#redact = options.redact ?? ((_, text) => text);
  }

  /** Notes calls that ended. */
  noteCalls(reports: readonly CallReport[]): void {
    const at = Date.now();
    for (const report of reports) this.#note(() => this.#entryOfCall(report, at));
  }

  /** Notes a call of the proxy's own tools. */
  noteMetaCall(report: MetaCallReport): void {
    this.#note(() => entryOfMetaCall(report));
  }

  /** Notes what an operator did, or tried to. */
  noteChange(change: OperatorChange): void {
    this.#note(() => {
      const { type, action, server, origin, durationMs, error, facts } = change;
      const fault = error === undefined ? undefined : toProxyError(error);
      return {
        at: Date.now(),
        type,
        status: statusOf(fault),
        server: server?.slice(0, NAME_CHARS),
        durationMs,
        ...whoOf(origin),
        message: fault && this.#shownMessage(fault.message, { server, secrets: [] }),
        detail: detailOf(undefined, { action, ...facts, ...clientOf(origin), code: fault?.code }),
      };
    });
  }

  /** Notes what the proxy did by itself, or found changed by hand. */
  noteEvent(event: ProxyEvent): void {
    this.#note(() => {
      const entry = entryOfEvent(event);
      if (entry === undefined) return undefined;
      const { server, message } = entry;
      const shown = message && this.#shownMessage(message, { server, secrets: [] });
      return { at: event.time, source: "proxy", ...entry, message: shown };
    });
  }

  /** Notes that the proxy started or stops. */
  noteSystem(type: "system_start" | "system_stop", facts: Readonly<Record<string, unknown>>): void {
    const who = { source: "proxy", status: "success" } as const;
    this.#note(() => ({ at: Date.now(), type, ...who, detail: detailOf(undefined, facts) }));
  }

  /** Whatever is wrong with what is noted, nobody is to fail for it. */
  #note(makeEntry: () => ActivityEntry | undefined): void {
    if (!this.#activity.isOn) return;
    try {
      const entry = makeEntry();
      if (entry !== undefined) this.#activity.add(entry);
    } catch (error) {
      this.#activity.reportLoss(error);
    }
  }

  #entryOfCall(report: CallReport, at: number): ActivityEntry {
    const { server, tool, variant, durationMs, isError, request, failure } = report;
    const fault = failure === undefined ? undefined : toProxyError(failure);
    const status = fault === undefined && isError ? "error" : statusOf(fault);
    const shown = excerptOf(request.args, { maxChars: ARGUMENTS_CHARS });
    const message = fault?.message ?? report.errorText;
    const { origin, reason, trace } = request;
    const intent = variant?.slice("call_tool_".length);
    const why = reason === undefined ? undefined : excerptOfText(reason, { secrets: shown.secrets });
    return {
      at,
      type: status === "blocked" ? "policy_decision" : "tool_call",
      status,
      server: server ?? splitToolId(tool)?.server.slice(0, NAME_CHARS),
      tool: splitToolId(tool)?.tool ?? tool,
      intent,
      durationMs,
      ...whoOf(origin),
      message:
        message === undefined ? undefined : this.#shownMessage(message, { server, secrets: shown.secrets }),
      detail: detailWith(shown, {
        tool_variant: variant,
        ...(why === undefined ? {} : { intent: { operation_type: intent, reason: why } }),
        client: this.#clientOf(origin),
        code: fault?.code,
        traceparent: trace?.traceparent,
      }),
    };
  }

  /** The same few names come with every call. */
  #clientOf(origin: CallOrigin | undefined): string | undefined {
    const client = origin?.client;
    if (client === undefined) return undefined;
    let shown = this.#clients.get(client);
    if (shown === undefined) {
      shown = excerptOfText(client, { maxChars: NAME_CHARS });
      if (this.#clients.size < MAX_CLIENTS && client.length <= NAME_CHARS) this.#clients.set(client, shown);
    }
    return shown;
  }

  #shownMessage(
    text: string,
    { server, secrets }: { readonly server: string | undefined; readonly secrets: readonly string[] },
  ): string {
    const short = text.slice(0, 2 * MESSAGE_CHARS);
    const redacted = server === undefined ? short : this.#redact(server, short);
    return excerptOfText(redacted, { maxChars: MESSAGE_CHARS, secrets });
  }
}

function entryOfMetaCall(report: MetaCallReport): ActivityEntry {
  const { tool, args, origin, durationMs, error } = report;
  const shown = excerptOf(args, { maxChars: ARGUMENTS_CHARS });
  const fault = error === undefined ? undefined : toProxyError(error);
  return {
    at: Date.now(),
    type: "internal_tool_call",
    status: statusOf(fault),
    tool: tool.slice(0, NAME_CHARS),
    durationMs,
    ...whoOf(origin),
    message: fault && excerptOfText(fault.message, { maxChars: MESSAGE_CHARS, secrets: shown.secrets }),
    detail: detailOf(shown, { ...clientOf(origin), code: fault?.code }),
  };
}

type EventEntry = Pick<ActivityEntry, "type" | "status" | "server" | "message" | "detail">;

/** The moves that are written down, and what each is called. */
const EVENT_TYPES: Partial<Record<EventType, string>> = {
  auto_disable_suspended: "server_change",
  config_invalid: "config_change",
  config_reloaded: "config_change",
  quarantine_changed: "quarantine_change",
  server_auto_disabled: "server_change",
  server_recovered: "server_change",
};

function entryOfEvent(event: ProxyEvent): EventEntry | undefined {
  const type = EVENT_TYPES[event.type];
  if (type === undefined) return undefined;
  const { server } = event;
  if (event.type === "config_invalid") {
    return {
      type,
      status: "error",
      message: event.data.message,
      detail: detailOf(undefined, { action: event.type }),
    };
  }
  if (event.type === "server_auto_disabled") {
    const { reason, failures } = event.data;
    const detail = detailOf(undefined, { action: event.type, failures });
    return { type, status: "error", server, message: reason, detail };
  }
  return {
    type,
    status: "success",
    server,
    detail: detailOf(undefined, { action: event.type, ...event.data }),
  };
}

function statusOf(fault: ProxyError | undefined): ActivityStatus {
  if (fault === undefined) return "success";
  return BLOCKED.has(fault.code) || ERRORS[fault.code].http === 403 ? "blocked" : "error";
}

function whoOf(
  origin: CallOrigin | undefined,
): Pick<ActivityEntry, "source" | "requestId" | "session" | "principal"> {
  return {
    source: origin?.source ?? "mcp",
    // Those of one process follow each other, which keeps the index cheap.
    requestId: origin?.requestId ?? Bun.randomUUIDv7(),
    session: origin?.session,
    principal: origin?.principal,
  };
}

function clientOf(origin: CallOrigin | undefined): { readonly client?: string } {
  const client = origin?.client;
  return client === undefined ? {} : { client: client.slice(0, NAME_CHARS) };
}

/** Facts from anywhere. */
function detailOf(shown: Excerpt | undefined, facts: Readonly<Record<string, unknown>>): string {
  const given = Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
  return detailWith(shown, JSON.parse(excerptOf(given, { maxChars: ARGUMENTS_CHARS }).json) as JsonObject);
}

/** Facts that are short and hold no secret. */
function detailWith(shown: Excerpt | undefined, facts: object): string {
  const metadata = `"metadata":${JSON.stringify(facts)}`;
  if (shown === undefined) return `{${metadata}}`;
  const truncated = shown.isCut ? ',"arguments_truncated":true' : "";
  return `{"arguments":${shown.json}${truncated},${metadata}}`;
}
