/**
 * The events as a JSON Schema.
 *
 * Owns the description of each kind of event for programs that read a stream. Invariant: it says exactly what the union
 * in `events.ts` says; `AS_IN_THE_UNION` does not compile when a field of either is missing, additional or of another
 * type in the other. Deriving the union from Zod was rejected: whoever publishes would read inferred types instead of
 * a page of plain ones; and Zod is not loaded for publishing, only when somebody asks for the schema's text.
 */
import { z } from "zod";

import type { EventData, EventType } from "./events.ts";
import { STARTUP_MODES } from "./model.ts";

type Shapes = ReturnType<typeof makeShapes>;
/** The same type with every `readonly` taken off, so that only what is in it counts. */
type Plain<T> = T extends object ? { -readonly [Key in keyof T]: Plain<T[Key]> } : T;
// oxlint-disable typescript/no-unnecessary-type-parameters -- no other comparison of types is exact
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : readonly ["differs", A, B];
// oxlint-enable typescript/no-unnecessary-type-parameters
type Drift = {
  [Type in EventType | keyof Shapes]: Type extends EventType & keyof Shapes
    ? Same<Plain<z.output<Shapes[Type]>>, Plain<EventData[Type]>>
    : readonly ["only in one of them", Type];
};

/** One entry a kind of event, and none that is not in the union. */
const AS_IN_THE_UNION: Drift = {
  proxy_state_changed: true,
  server_added: true,
  server_removed: true,
  server_changed: true,
  server_renamed: true,
  server_state_changed: true,
  server_auto_disabled: true,
  server_recovered: true,
  quarantine_changed: true,
  oauth_required: true,
  auto_disable_suspended: true,
  server_group_updated: true,
  config_committed: true,
  config_reloaded: true,
  config_invalid: true,
  tools_changed: true,
  tool_called: true,
  session_opened: true,
  session_closed: true,
  log: true,
};

/** The kinds of events. */
export const EVENT_TYPES = Object.keys(AS_IN_THE_UNION) as readonly EventType[];

let schema: Readonly<Record<string, unknown>> | undefined;

/** The JSON Schema (2020-12) of what a stream carries: every kind of event, and `gap`. */
export function eventJsonSchema(): Readonly<Record<string, unknown>> {
  schema ??= z.toJSONSchema(eventUnion(), { io: "output" }) as Readonly<Record<string, unknown>>;
  return schema;
}

/** What a stream carries, as a Zod schema. */
function eventUnion() {
  const kinds = Object.entries(makeShapes()).map(([type, data]) => envelope(type, data));
  const gap = z.strictObject({ from: z.int(), to: z.int() });
  const told = "Events 'from' to 'to' were missed and are not kept any more: read the state anew";
  const [first, ...rest] = [...kinds, envelope("gap", gap).describe(told)];
  return z.union([first, ...rest]).meta({ title: "Event", description: "One message of an event stream" });
}

function envelope(type: string, data: z.ZodType) {
  return z
    .strictObject({
      id: z.int().describe("Larger than that of every earlier event, restarts included"),
      time: z.int().describe("Unix milliseconds"),
      type: z.literal(type),
      server: z.string().exactOptional().describe("Name of the server it is about"),
      group: z.int().exactOptional().describe("Id of the group it is about"),
      revision: z.int().exactOptional().describe("The revision of the configuration it is an effect of"),
      truncated: z.literal(true).exactOptional().describe("Long texts and lists in 'data' were cut"),
      data,
    })
    .meta({ id: type });
}

function makeShapes() {
  return { ...serverShapes(), ...configShapes(), ...useShapes() };
}

/** Of the proxy and its servers. */
function serverShapes() {
  const names = z.array(z.string());
  const mode = z.enum(STARTUP_MODES);
  const cause = z.number().describe("Id of the move it belongs to");
  const reason = z.string();
  const proxyState = z.enum(["starting", "running", "degraded", "stopping", "stopped"]);
  const standing = z.strictObject({
    mode,
    connection: z.enum(["disconnected", "connecting", "authenticating", "discovering", "ready", "error"]),
    category: z.enum(["connected", "disconnected", "sleeping", "disabled", "auto_disabled", "quarantined"]),
  });
  return {
    proxy_state_changed: z.strictObject({ before: proxyState, after: proxyState, reason }),
    server_added: standing,
    server_removed: z.strictObject({ reason }),
    server_changed: z.strictObject({ keys: names, isRestarted: z.boolean() }),
    server_renamed: z.strictObject({ from: z.string() }),
    server_state_changed: z.strictObject({
      before: standing,
      after: standing,
      reason,
      attempt: z.number(),
      since: z.number(),
    }),
    server_auto_disabled: z.strictObject({ reason, failures: z.number(), cause }),
    server_recovered: z.strictObject({ mode, cause }),
    quarantine_changed: z.strictObject({ isQuarantined: z.boolean(), reason, cause }),
    oauth_required: z.strictObject({ reason, hint: z.string(), cause }),
    auto_disable_suspended: z.strictObject({ isSuspended: z.boolean(), reason, servers: names }),
  };
}

/** Of the configuration and its groups. */
function configShapes() {
  const names = z.array(z.string());
  const configChange = {
    added: names,
    removed: names,
    changed: names,
    settings: names,
    restartRequired: names,
  };
  const fault = { file: z.string(), line: z.number(), column: z.number(), key: z.string() };
  return {
    server_group_updated: z.strictObject({
      action: z.enum([
        "create",
        "update",
        "delete",
        "assign",
        "unassign",
        "enable",
        "disable",
        "restart",
        "quarantine",
      ]),
      name: z.string(),
      updated: z.number(),
      unchanged: z.number(),
      failed: z.number(),
    }),
    config_committed: z.strictObject({ ...configChange, warning: z.string().exactOptional() }),
    config_reloaded: z.strictObject(configChange),
    config_invalid: z.strictObject({
      message: z.string(),
      faults: z.array(
        z.strictObject({
          ...fault,
          message: z.string(),
          advice: z.string(),
          server: z.string().exactOptional(),
        }),
      ),
    }),
  };
}

/** Of what is on offer and who uses it. */
function useShapes() {
  const names = z.array(z.string());
  return {
    tools_changed: z.strictObject({ added: names, removed: names, changed: names }),
    tool_called: z.strictObject({
      tool: z.string(),
      variant: z.enum(["call_tool_read", "call_tool_write", "call_tool_destructive"]).exactOptional(),
      durationMs: z.number(),
      isError: z.boolean(),
      code: z.string().exactOptional(),
    }),
    session_opened: z.strictObject({ session: z.string(), open: z.number() }),
    session_closed: z.strictObject({ session: z.string(), open: z.number(), reason: z.string() }),
    log: z.strictObject({
      level: z.enum(["warn", "error"]),
      message: z.string(),
      fields: z.record(z.string(), z.string()),
    }),
  };
}
