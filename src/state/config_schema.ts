/**
 * The schema of the configuration file: one source for validation, defaults and the printed JSON Schema.
 *
 * Owns every key, its type, default, description, and what is said when the type is wrong. Invariants: a
 * schema only judges and fills in defaults, it never converts (that is `config.ts`); unknown keys are no
 * fault, as the Go proxy keeps its own in the same file; messages name types, never values that may be
 * secret. Messages travel as `what is wrong`, newline, `what would be right`: zod has one string for both.
 */
import { z } from "zod";
import { STARTUP_MODES } from "../core/model.ts";
import { parseDuration } from "../lib/duration.ts";

type RawIssue = { readonly input?: unknown; readonly code?: string };

const DURATION_PATTERN = /^[+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;
const VALUE_LENGTH_MAX = 40;

/** Names the JSON type of a value, as in `a number`. */
function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  return `a ${typeof value}`;
}

const wrong =
  (expected: string, advice: string) =>
  ({ input }: RawIssue): string =>
    `Expected ${expected}, got ${kindOf(input)}\n${advice}`;

const text = (description: string, advice = "Write text in double quotes") =>
  z.string({ error: wrong("a string", advice) }).meta({ description });

const flag = (description: string) =>
  z.boolean({ error: wrong("true or false", "Write true or false, without quotes") }).meta({ description });

const whole = (description: string, minimum = 0) => {
  const advice = `Write a whole number of at least ${minimum}, without quotes`;
  const error = ({ input }: RawIssue): string => {
    const got = typeof input === "number" ? String(input) : kindOf(input);
    return `Expected a whole number of at least ${minimum}, got ${got}\n${advice}`;
  };
  return z.number({ error }).int({ error }).min(minimum, { error }).meta({ description });
};

const share = (description: string) => {
  const error = wrong("a number from 0 to 1", "Write a number from 0 to 1, without quotes");
  return z.number({ error }).min(0, { error }).max(1, { error }).meta({ description });
};

const duration = (description: string) => {
  const error = ({ input }: RawIssue): string => {
    if (typeof input === "number") {
      return `Expected a duration, got the number ${input}\nWrite the unit too: "${input}s" for seconds, "${input}ms" for milliseconds`;
    }
    const got = typeof input === "string" ? quoted(input) : kindOf(input);
    return `Expected a duration, got ${got}\nWrite a number with its unit, such as "90s", "2m0s" or "500ms"`;
  };
  return z
    .string({ error })
    .regex(DURATION_PATTERN, { error })
    .refine((value) => !DURATION_PATTERN.test(value) || parseDuration(value) !== undefined, { error })
    .meta({ description, examples: ["90s", "2m0s"] });
};

/** A duration that may be given in days, which Go's own do not know. */
const period = (description: string) => {
  const error = wrong("a period", 'Write a number with its unit, such as "30d" or "12h"');
  return z
    .string({ error })
    .refine((value) => /^\d+d$/.test(value) || DURATION_PATTERN.test(value), { error })
    .meta({ description, examples: ["30d", "12h"] });
};

const choice = <const T extends readonly [string, ...string[]]>(description: string, values: T) =>
  z
    .enum(values, {
      error: ({ input }: RawIssue) => {
        const names = values.filter((value) => value !== "").map((value) => `"${value}"`);
        const got = typeof input === "string" ? quoted(input) : kindOf(input);
        return `Expected one of ${names.join(", ")}, got ${got}\nWrite one of ${names.join(", ")}`;
      },
    })
    .meta({ description });

const list = (description: string) =>
  z
    .array(z.string({ error: wrong("a string", "Put each item in double quotes") }), {
      error: wrong("an array of strings", 'Write a list: ["first", "second"]'),
    })
    .meta({ description });

const map = (description: string) =>
  z
    .record(z.string(), z.string({ error: wrong("a string", "Put the value in double quotes") }), {
      error: wrong("an object of strings", 'Write an object: {"NAME": "value"}'),
    })
    .meta({ description });

const OBJECT_ERROR = { error: wrong("an object", "Write an object: { … }") };

const section = <T extends z.ZodRawShape>(description: string, shape: T) =>
  z
    .object(shape, OBJECT_ERROR)
    .prefault({} as never)
    .meta({ description });

const foreign = (description: string) => z.unknown().optional().meta({ description });

/** One entry of `mcpServers`. */
export const serverSchema = z.object(
  {
    name: text("Unique name: up to 128 characters; no ':', '__' or control characters").optional(),
    description: text("What the server is for").default(""),
    url: text("Address of an HTTP server; ${env:NAME} is resolved at use").optional(),
    protocol: choice("How the server is reached; empty: derived from command or url", [
      "",
      "stdio",
      "http",
      "streamable-http",
      "streamable_http",
      "streamableHttp",
      "sse",
      "auto",
    ]).optional(),
    type: choice("The same as protocol, as other clients write it", [
      "",
      "stdio",
      "local",
      "remote",
      "http",
      "streamable-http",
      "streamable_http",
      "streamableHttp",
      "sse",
      "auto",
    ]).optional(),
    command: text("Program to start; run directly, without a shell").optional(),
    args: list("Arguments of the program").nullable().default([]),
    working_dir: text("Folder the program starts in; ~ expands").optional(),
    cwd: text("The same as working_dir, as other clients write it").optional(),
    env: map("Variables for the program; ${env:NAME} is resolved at use").nullable().default({}),
    headers: map("Headers of each HTTP request; ${env:NAME} is resolved at use").nullable().default({}),
    startup_mode: choice("What the operator wants; wins over the older switches", [
      "",
      ...STARTUP_MODES,
    ]).optional(),
    enabled: flag("Older switch: false means startup_mode disabled").optional(),
    disabled: flag("The same as enabled: false, as other clients write it").optional(),
    stopped: flag("Older switch: true means startup_mode disabled").optional(),
    quarantined: flag("Older switch: true means startup_mode quarantined").optional(),
    auto_disabled: flag("Older switch: true means startup_mode auto_disabled").optional(),
    start_on_boot: flag("Older switch: false means startup_mode lazy_loading").optional(),
    repository_url: text("Where the source of the server lies").optional(),
    group_id: whole("Id of its group; 0 is none, unless a group has the id 0").optional(),
    groups: z
      .array(
        z.union([z.string(), z.number().int()], {
          error: wrong("a name or an id", "Write the name of a group in double quotes, or its id"),
        }),
        { error: wrong("an array", 'Write a list of names or ids: ["search", 4]') },
      )
      .default([])
      .meta({ description: "Names or ids of further groups" }),
    connection_timeout: duration(
      "How long an attempt to connect may take; absent: the global value",
    ).optional(),
    call_timeout: duration("How long a call may take; absent: the global value").optional(),
    auto_disable_threshold: whole(
      "Failures in a row until auto-disable; 0: the global value, -1: never",
      -1,
    ).default(0),
    auto_recover: flag("Whether an auto-disabled server is tried again by itself").default(true),
    health_check: foreign("Read without effect: switch probes off with health_check_interval"),
    health_check_interval: duration('Time between probes; "0s": none').optional(),
    tool_discovery_interval: duration("Time between readings of the tool list").optional(),
    max_concurrent_requests: whole("Calls at once; 0: no limit").optional(),
    queue_size: whole("Calls that may wait").optional(),
    enabled_tools: list("Only these tools are offered; absent: all").optional(),
    disabled_tools: list("These tools are never offered").default([]),
    tags: list("Free words to filter by").default([]),
    oauth: foreign("Login by OAuth"),
    isolation: foreign("Read and kept for the Go proxy"),
    created: text("When the entry was made").optional(),
    updated: text("When the entry last changed").optional(),
    ever_connected: foreign("What the Go proxy noted; read once, never written"),
    last_successful_connection: foreign("What the Go proxy noted; read once, never written"),
    tool_count: foreign("What the Go proxy noted; not read"),
  },
  { error: wrong("an object", 'Write an object: {"name": "…", "command": "…"}') },
);

const groupSchema = z.object(
  {
    id: whole("Number of the group; absent: the next free one").optional(),
    name: text("Unique name").min(1, { error: () => "The name of a group is empty\nWrite a name" }),
    description: text("What the group is for").default(""),
    enabled: flag("Whether its servers may be used").default(true),
    parent: z
      .union([z.string(), z.number().int()], { error: wrong("a name or an id", "Write the name of a group") })
      .optional()
      .meta({ description: "Name or id of the group it is part of" }),
    color: text("Colour in the web page").optional(),
    icon_emoji: text("Sign in the web page").optional(),
  },
  { error: wrong("an object", 'Write an object: {"id": 1, "name": "…"}') },
);

const registrySchema = z.object(
  {
    id: text("Unique id; that of a known registry changes it").min(1, {
      error: () => "The id of a registry is empty\nWrite an id",
    }),
    name: text("Name in lists").optional(),
    url: text("Its page for people").optional(),
    servers_url: text("Address that answers with the servers; absent: url").optional(),
    description: text("What it holds").optional(),
    tags: list("Free words to filter by").optional(),
    protocol: text("How it answers; absent: found out from the answer").optional(),
    allow_private: flag("Whether it may lie on a private network").optional(),
    count: foreign("What the Go proxy noted; not read"),
  },
  { error: wrong("an object", 'Write an object: {"id": "…", "servers_url": "https://…"}') },
);

/** Every top-level key except `mcpServers`. */
export const settingsSchema = z.object(
  {
    listen: text(
      "Address to listen on, host:port; without a host 127.0.0.1",
      'Write an address such as "127.0.0.1:8080"',
    ).default("127.0.0.1:8080"),
    data_dir: text("Folder of database, logs and keys; ~ expands").default("~/.mcpproxy"),
    api_key: text("Key of the API; ${env:NAME} is resolved at use; absent: one is made").optional(),
    tls: foreign("Encryption of the listener; off"),
    trusted_hosts: list("Host names, besides loopback, that requests may carry").default([]),
    require_mcp_auth: flag("Whether MCP clients need the API key too").default(false),
    tools_limit: whole("Hits of a search", 1).default(15),
    tool_response_limit: whole("Characters of a tool's result until it is cut; 0: never").default(20_000),
    tool_response_mode: choice("Form of search replies", ["compact", "full"]).default("compact"),
    call_tool_timeout: duration("How long a call may take").default("2m"),
    connection_timeout: duration("How long an attempt to connect may take").default("60s"),
    max_concurrent_connections: whole("Servers that start at the same time", 1).default(10),
    max_waiting_connections: whole("Silent servers that wait outside for their answer").default(64),
    enable_lazy_loading: flag("Whether servers with known tools start at their first call").default(false),
    idle_disconnect: duration('Idle time until a lazy server sleeps; "0s": never').default("10m"),
    auto_disable_threshold: whole("Failures in a row until auto-disable; 0: never").default(3),
    persist_auto_disable_to_config: flag("Whether an auto-disable is written to this file").default(false),
    health_check_interval: duration('Time between probes; "0s": none').default("30s"),
    tool_discovery_interval: duration("Time between readings of a tool list").default("5m"),
    supervision: section("How connections are started, retried and stopped", {
      first_deadline: duration("Deadline of a server that connected before").default("20s"),
      first_run_timeout: duration(
        "Deadline of a server that never connected; absent: 3 × connection_timeout, at least 3m",
      ).optional(),
      start_patience: section("Silence after which an attempt gives its place back", {
        stdio: duration("For programs").default("2s"),
        http: duration("For addresses").default("250ms"),
      }),
      backoff_base: duration("First wait before another attempt").default("1s"),
      backoff_cap: duration("Longest wait before another attempt").default("5m"),
      recover_after: duration("First wait before an auto-disabled server is tried again").default("10m"),
      cascade_window: duration("Window in which many failures count as one cause").default("60s"),
      restart_budget: whole("Starts of one server within a minute", 1).default(5),
      stop_grace: duration("Time to leave after stdin is closed").default("2s"),
      term_grace: duration("Time to leave after SIGTERM").default("3s"),
    }),
    unannotated_tools: choice("What a tool without annotations counts as", ["read", "write"]).default(
      "write",
    ),
    read_only_mode: flag("Refuses every change").default(false),
    enable_socket: flag("Listens on 'mcpproxy.sock' in the data dir too, where no key is asked for").default(
      true,
    ),
    disable_management: flag("Switches all management tools off").default(false),
    allow_server_add: flag("Whether tools may add servers").default(true),
    allow_server_remove: flag("Whether tools may remove servers").default(true),
    admin_tools: choice("Where management tools are offered", ["separate", "inline", "off"]).default(
      "separate",
    ),
    legacy_tools: flag("Lists call_tool as the original does").default(false),
    routing_mode: choice("What /mcp offers", ["retrieve_tools", "direct"]).default("retrieve_tools"),
    groups: z
      .array(groupSchema, { error: wrong("an array of groups", 'Write a list: [{"id": 1, "name": "…"}]') })
      .default([])
      .meta({ description: "Named sets of servers" }),
    environment: section("Which variables programs get", {
      inherit_system_safe: flag("Whether harmless system variables are passed on").default(true),
      allowed_system_vars: list("Further system variables to pass on").default([]),
      custom_vars: map("Variables every program gets").default({}),
      enhance_path: flag("Whether PATH is that of the login shell").default(false),
    }),
    logging: section("What is logged where", {
      level: choice("How severe a line must be", ["trace", "debug", "info", "warn", "error"]).default("info"),
      enable_file: flag("Whether to log to files").default(true),
      enable_console: flag("Whether to log to stderr").default(true),
      filename: text("Name of the log file").optional(),
      log_dir: text("Folder of the logs; absent: data_dir/logs").optional(),
      max_size: whole("Megabytes until a file is rotated").default(10),
      max_backups: whole("Rotated files to keep").default(5),
      max_age: whole("Days to keep rotated files").default(30),
      compress: flag("Whether rotated files are compressed").default(true),
      json_format: flag("Whether lines are JSON").default(false),
    }),
    registries: z
      .array(registrySchema, {
        error: wrong("an array of registries", 'Write a list: [{"id": "…", "servers_url": "https://…"}]'),
      })
      .default([])
      .meta({ description: "Lists of servers to choose from, beside and over the known ones" }),
    semantic_search: section("Search by meaning", {
      enabled: flag("Whether vectors are used").default(true),
    }),
    max_concurrent_requests: whole("Calls at once over all servers; 0: no limit").default(0),
    queue_size: whole("Calls that may wait").default(100),
    queue_timeout: duration("How long a call may wait").default("30s"),
    server_concurrency_defaults: section("Limits of each server", {
      max_concurrent_requests: whole("Calls at once; 0: no limit").default(0),
      queue_size: whole("Calls that may wait").default(100),
    }),
    activity: section("The record of what was done", {
      retention: period("How long entries are kept").default("30d"),
      max_rows: whole("Entries kept").default(1_000_000),
    }),
    tracing: section("Where calls are told as spans; off unless a collector is named", {
      otlp_endpoint: text(
        "Address of an OTLP collector over HTTP; ${env:NAME} is resolved at use",
      ).optional(),
      headers: map("Headers of each request; ${env:NAME} is resolved at use").default({}),
      sample_ratio: share("Share of calls that begin a trace, from 0 to 1").default(1),
    }),
    features: section("Switches of whole features", {
      enable_web_ui: flag("Serves the web page").default(true),
    }),
    quarantine_enabled: flag("Holds servers added by tools until a person approves").default(true),
    telemetry: foreign("Read and never sent"),
  },
  { error: wrong("an object", 'Write an object: {"mcpServers": []}') },
);

/** A validated entry of `mcpServers`, defaults filled in. */
export type ServerEntry = z.output<typeof serverSchema>;
/** The validated top level, defaults filled in. */
export type SettingsEntry = z.output<typeof settingsSchema>;

/** Makes the JSON Schema (draft 2020-12) of the configuration file, descriptions and defaults included. */
export function configJsonSchema(): object {
  const schema = settingsSchema
    .extend({
      $schema: z.string().optional().meta({ description: "Address of this schema, for editors" }),
      mcpServers: z
        .union([z.array(serverSchema.required({ name: true })), z.record(z.string(), serverSchema)])
        .default([])
        .meta({ description: "The servers: a list of entries with a name, or an object of entries by name" }),
    })
    .meta({ title: "mcpproxy configuration" });
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
}

function quoted(value: string): string {
  return JSON.stringify(value.length > VALUE_LENGTH_MAX ? `${value.slice(0, VALUE_LENGTH_MAX)}…` : value);
}
