/**
 * The OpenAPI 3.1 document of all routes.
 *
 * Owns the way from the table in `reference.ts` to the document. Invariants: it is made once, when it is first asked for,
 * and nothing of it is read before; shapes that stand in several answers are named once in `components` and referred to.
 * An OpenAPI plugin of the router was rejected: it wants each route written its way, and loads with the listener.
 */
import { z } from "zod";

import { ERRORS } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { eventJsonSchema } from "../core/event_schema.ts";
import { VERSION } from "../core/version.ts";
import { AGENT_ROUTES } from "./door.ts";
import { REFERENCE } from "./reference.ts";
import { activityShape } from "./reference_activity.ts";
import { changeShape, commonErrors, errorShape, TAGS } from "./reference_entry.ts";
import type { RouteEntry, RouteTable } from "./reference_entry.ts";
import { batchShape, groupChangeShape, groupShape } from "./reference_groups.ts";
import { metricsShape } from "./reference_status.ts";
import { serverChangeShape, serverShape, serverStatsShape, serverVerbShape } from "./reference_servers.ts";
import { tokenShape } from "./reference_tokens.ts";
import { toolShape } from "./reference_tools.ts";

type Json = Record<string, unknown>;

/** Shapes with a name of their own. */
const COMPONENTS = {
  Activity: activityShape,
  Batch: batchShape,
  Change: changeShape,
  Error: errorShape,
  Group: groupShape,
  GroupChange: groupChangeShape,
  Metrics: metricsShape,
  Server: serverShape,
  ServerChange: serverChangeShape,
  ServerVerb: serverVerbShape,
  ServerStats: serverStatsShape,
  Token: tokenShape,
  Tool: toolShape,
} as const;

const PARAMETERS: Readonly<Record<string, string>> = {
  file: "Name of the file",
  group: "Id, name or slug of a group",
  id: "As a list gives it",
  name: "As a list gives it, encoded: a name may hold '/' and '..'",
  server: "Name of a server, encoded",
  slug: "Slug of a group",
};
const ABOUT = `One MCP gateway process between AI agents and hundreds of MCP servers.

Answers are \`{success: true, data}\` or \`{success: false, error, code, hint?, details?, request_id}\`. The key goes into \`X-API-Key\` or \`Authorization: Bearer\`; it stands in the file \`api_key\` of the data dir. The same API answers without a key on the Unix socket \`mcpproxy.sock\` of the data dir. Any request may carry an \`X-Request-Id\`; the answer, the log and the activity have it too. Fields may be added to answers: pass over those you do not know. A body of more than 16 MiB is answered with 413.`;

let made: Json | undefined;

/** The document; `version` and routes are those of this build. */
export function openApiDocument(): Readonly<Json> {
  made ??= documentOf(REFERENCE);
  return made;
}

function documentOf(table: RouteTable): Json {
  const schemas = new Schemas(table);
  const paths: Record<string, Json> = {};
  for (const [route, entry] of Object.entries(table)) {
    const [method = "", path = ""] = route.split(" ");
    const address = path.replaceAll(/:(\w+)/g, "{$1}");
    (paths[address] ??= {})[method.toLowerCase()] = operationOf(route, { entry, schemas });
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "mcpproxy",
      version: VERSION,
      description: ABOUT,
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "The proxy that serves this document" }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    security: [{ apiKey: [] }, { bearer: [] }],
    paths,
    components: {
      schemas: { ...schemas.components, ...eventComponents() },
      securitySchemes: {
        apiKey: {
          type: "apiKey",
          in: "header",
          name: "X-API-Key",
          description: "The API key, or an agent token",
        },
        bearer: { type: "http", scheme: "bearer", description: "The same in 'Authorization'" },
        address: {
          type: "apiKey",
          in: "query",
          name: "apikey",
          description: "For streams alone, where a browser sends no header",
        },
      },
    },
  };
}

interface Described {
  readonly entry: RouteEntry;
  readonly schemas: Schemas;
}

function operationOf(route: string, { entry, schemas }: Described): Json {
  const names = [...route.matchAll(/:(\w+)/g)].map(([, name = ""]) => name);
  const { id, tag, summary, query = {}, headers = {}, body, access = "key" } = entry;
  const isForAgents = access === "mcp" || AGENT_ROUTES.has(route);
  const scope =
    isForAgents && access !== "mcp" ? "Agent tokens open it, for what they may reach." : undefined;
  const description = [entry.description, scope].filter(Boolean).join(" ");
  const parameters = [
    ...names.map((name) => ({
      name,
      in: "path",
      required: true,
      description: PARAMETERS[name],
      schema: { type: "string" },
    })),
    ...Object.entries(query).map(([name, shape]) => ({
      name,
      in: "query",
      required: !shape.safeParse(undefined).success,
      ...describedApart(schemas.of(`${route} query ${name}`)),
    })),
    ...Object.keys(headers).map((name) => ({
      name,
      in: "header",
      required: false,
      ...describedApart(schemas.of(`${route} header ${name}`)),
    })),
  ];
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === "" ? {} : { description }),
    ...securityOf(access),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: entry.isBodyOptional !== true,
            content: { "application/json": { schema: schemas.of(`${route} body`) } },
          },
        }),
    responses: responsesOf(route, { entry, schemas }),
  };
}

function securityOf(access: NonNullable<RouteEntry["access"]>): Json {
  if (access === "open") return { security: [] };
  if (access === "mcp") return { security: [{}, { apiKey: [] }, { bearer: [] }] };
  return access === "address" ? { security: [{ apiKey: [] }, { bearer: [] }, { address: [] }] } : {};
}

/** A parameter carries its description beside its schema. */
function describedApart({ description, ...schema }: Json): Json {
  return description === undefined ? { schema } : { description, schema };
}

function responsesOf(route: string, { entry, schemas }: Described): Json {
  const responses: Json = {};
  if (entry.data !== undefined) {
    for (const status of entry.status ?? [200]) {
      responses[status] = {
        description: "Done",
        ...content("application/json", schemas.of(`${route} data`)),
      };
    }
  }
  for (const [status, { description, json, media }] of Object.entries(entry.others ?? {})) {
    const type = media ?? (json === undefined ? undefined : "application/json");
    const schema = json === undefined ? { type: "string" } : schemas.of(`${route} ${status}`);
    responses[status] = { description, ...(type === undefined ? {} : content(type, schema)) };
  }
  if (entry.access === "mcp") return responses;
  const codes = new Set([...commonErrors(entry), ...(entry.errors ?? [])]);
  const byStatus = Map.groupBy(codes, (code) => ERRORS[code].http);
  for (const [status, all] of byStatus) responses[status] = errorOf(all);
  return responses;
}

function errorOf(codes: readonly ErrorCode[]): Json {
  const sorted = codes.toSorted();
  return {
    description: sorted.map((code) => `${code}: ${ERRORS[code].doc}`).join("; "),
    ...content("application/json", { $ref: "#/components/schemas/Error" }),
    "x-codes": sorted,
  };
}

function content(media: string, schema: Json): Json {
  return { content: { [media]: { schema } } };
}

/** All shapes of the table as JSON Schemas that refer to the named ones. */
class Schemas {
  readonly components: Json;
  readonly #shapes: Readonly<Record<string, Json>>;

  constructor(table: RouteTable) {
    const answers = z.registry<{ id: string }>();
    const requests = z.registry<{ id: string }>();
    for (const [id, shape] of Object.entries(COMPONENTS)) answers.add(shape, { id });
    for (const [route, entry] of Object.entries(table)) {
      for (const [id, shape] of answersOf(route, entry)) answers.add(shape, { id });
      for (const [name, shape] of Object.entries(entry.query ?? {})) {
        requests.add(clone(shape), { id: `${route} query ${name}` });
      }
      for (const [name, shape] of Object.entries(entry.headers ?? {})) {
        requests.add(clone(shape), { id: `${route} header ${name}` });
      }
      if (entry.body !== undefined) requests.add(clone(entry.body), { id: `${route} body` });
    }
    const told = convert(answers, "output");
    this.components = Object.fromEntries(Object.keys(COMPONENTS).map((name) => [name, told[name]]));
    this.#shapes = { ...told, ...convert(requests, "input") };
  }

  of(id: string): Json {
    return this.#shapes[id] ?? {};
  }
}

/** One shape may stand on several routes, and a registry knows each once. */
function clone<Shape extends z.ZodType>(shape: Shape): Shape {
  return shape.meta({ ...shape.meta() });
}

function answersOf(route: string, entry: RouteEntry): readonly (readonly [id: string, shape: z.ZodType])[] {
  const others = Object.entries(entry.others ?? {}).flatMap(([status, { json }]) =>
    json === undefined ? [] : [[`${route} ${status}`, z.lazy(() => json)] as const],
  );
  const { data, beside = {} } = entry;
  if (data === undefined) return others;
  const envelope = z.strictObject({ success: z.literal(true), data, ...beside });
  return [...others, [`${route} data`, envelope]];
}

/** Named shapes are referred to by their place in the document. */
function convert(
  registry: z.core.$ZodRegistry<{ id: string }>,
  io: "input" | "output",
): Record<string, Json> {
  const { schemas } = z.toJSONSchema(registry, {
    io,
    unrepresentable: "any",
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema instanceof z.ZodCustom) jsonSchema.type = "object";
      // Any number of JSON may be called whole: the bounds are those of JavaScript, not ours.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      // A later version may answer with more.
      if (io === "output" && jsonSchema.additionalProperties === false)
        delete jsonSchema.additionalProperties;
    },
  });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema)]));
}

/** A schema without what a whole document of its own would say. */
function bare(schema: object): Json {
  const { $schema: _, $id: __, id: ___, ...rest } = schema as Json;
  return rest;
}

/** The union of events with its kinds as shapes of their own. */
function eventComponents(): Json {
  const text = JSON.stringify(eventJsonSchema()).replaceAll("#/$defs/", "#/components/schemas/event_");
  const { $defs = {}, ...union } = JSON.parse(text) as { readonly $defs?: Readonly<Record<string, object>> };
  const kinds = Object.entries($defs).map(([type, schema]): [string, Json] => [
    `event_${type}`,
    bare(schema),
  ]);
  return { Event: bare(union), ...Object.fromEntries(kinds) };
}
