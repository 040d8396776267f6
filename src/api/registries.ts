/**
 * The routes of registries: which there are, what is in one, and adding a server from one.
 *
 * Owns what goes in and out under `/registries`. Invariants: nothing is asked of a registry before a client asks for its
 * servers; what is added is quarantined, whoever asks. Taking the definition from the request was rejected: what is
 * added is what the registry says, with what a person filled in beside it.
 */
import { Hono } from "hono";
import { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import type { RegistryDefinition } from "../core/settings.ts";
import { changeView } from "../gateway/change_summary.ts";
import type { Registries } from "../gateway/registries.ts";
import type { RegistryServer } from "../gateway/registry_entry.ts";
import type { Steering } from "../gateway/steering.ts";
import { redactUrl } from "../lib/redact.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { answer, operatorOf, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of registries work with. */
export interface RegistriesDeps {
  readonly registries: Registries;
  readonly steering: Steering;
}

const MAX_HITS = 1_000;
const texts = z.record(z.string(), z.string());

/** What a person fills in when a server is added; there is no `approve`, since nobody saw yet what it starts. */
export const registryAddBody = z.strictObject({
  name: z.string().min(1).max(MAX_NAME_CHARS).optional(),
  /** Behind those of the registry. */
  args: z.array(z.string()).optional(),
  env: texts.optional(),
  headers: texts.optional(),
  working_dir: z.string().optional(),
  groups: z.array(z.union([z.string(), z.number().int()])).optional(),
  /** Reach it where the registry says instead of starting it here. */
  remote: z.boolean().optional(),
  dry_run: z.boolean().optional(),
  revision: z.number().int().optional(),
});

/** Makes the routes below `/registries`. */
export function registryRoutes({ registries, steering }: RegistriesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => {
    const all = registries.list().map(registryView);
    return answer(context, { registries: all, total: all.length });
  });
  routes.get("/:id/servers", async (context) => {
    const limit = queryNumber(context, "limit", { min: 1, max: MAX_HITS });
    const query = context.req.query("q") ?? context.req.query("query");
    const tag = context.req.query("tag") || undefined;
    const hits = await registries.search(context.req.param("id"), { query, tag, limit });
    return answer(context, {
      registry: hits.registry.id,
      servers: hits.servers,
      total: hits.total,
      ...(query === undefined ? {} : { query }),
      ...(tag === undefined ? {} : { tag }),
    });
  });
  routes.post("/:id/servers/:server", async (context) => {
    const { name, remote, dry_run: isDryRun, revision, ...given } = await readBody(context, registryAddBody);
    const found = await registries.find(context.req.param("id"), context.req.param("server"));
    const { definitionOf, localName } = await import("../gateway/registry_entry.ts");
    const { command: _, args: __, ...elsewhere } = found;
    const isRemote = remote === true && found.url !== undefined;
    const server = name ?? localName(found.name);
    const definition = definitionOf(isRemote ? elsewhere : found, server);
    context.set("changed", { server, registry: found.registry });
    if (definition["command"] === undefined && definition["url"] === undefined) throw notStartable(found);
    const change = await steering.add(filledIn(definition, given), {
      by: operatorOf(context),
      isDryRun,
      revision,
    });
    const added = change.plan.config.servers.find((one) => one.name === server);
    const data = {
      server,
      quarantined: added?.startupMode === "quarantined",
      required_inputs: found.required_inputs ?? [],
      ...changeView(change),
    };
    return context.json({ success: true, data }, isDryRun === true ? 200 : 201);
  });
  return routes;
}

function notStartable({ id, repository_url: source }: RegistryServer): ProxyError {
  return new ProxyError(
    "REGISTRY_FAILED",
    `Cannot add '${id}': the registry does not say how it is started`,
    {
      hint: source === undefined ? "Add it by hand" : `Look at ${source}, and add it by hand`,
    },
  );
}

/** A registry as lists show it. */
function registryView(registry: RegistryDefinition) {
  const { id, name, description, url, serversUrl, tags, protocol } = registry;
  return { id, name, description, url, servers_url: redactUrl(serversUrl), tags: [...tags], protocol };
}

type Given = Pick<z.output<typeof registryAddBody>, "args" | "env" | "headers" | "working_dir" | "groups">;

function filledIn(definition: JsonObject, given: Given): JsonObject {
  const { args = [], env = {}, headers = {}, working_dir, groups } = given;
  const listed = Array.isArray(definition["args"]) ? (definition["args"] as readonly string[]) : [];
  const merged = (key: "env" | "headers", more: Readonly<Record<string, string>>): JsonObject => {
    const all = { ...(definition[key] as JsonObject | undefined), ...more };
    return Object.keys(all).length === 0 ? {} : { [key]: all };
  };
  return {
    ...definition,
    ...(listed.length + args.length > 0 && { args: [...listed, ...args] }),
    ...merged("env", env),
    ...merged("headers", headers),
    ...(working_dir !== undefined && { working_dir }),
    ...(groups !== undefined && { groups }),
  };
}
