/**
 * The reference of where servers come from: registries, and configurations of other programs.
 *
 * Owns the shape of a registry's server. Invariant: whatever comes this way is quarantined.
 */
import { z } from "zod";

import { importBody } from "./import.ts";
import { registryAddBody } from "./registries.ts";
import { CHANGE_ERRORS, changeShape, count, numberQuery, texts } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";

const inputShape = z.looseObject({ name: z.string() });
const textMap = z.record(z.string(), z.string());

const registryServerShape = z.strictObject({
  id: z.string(),
  name: z.string(),
  description: z.string(),
  registry: z.string(),
  version: z.string().optional(),
  url: z.string().optional(),
  protocol: z.string().optional(),
  command: z.string().optional(),
  args: texts.optional(),
  env: textMap.optional(),
  headers: textMap.optional(),
  install_cmd: z.string().optional().describe("The command as text, for people"),
  repository_url: z.string().optional(),
  source_code_url: z.string().optional(),
  updated_at: z.string().optional(),
  tags: texts.optional(),
  required_inputs: z.array(inputShape).optional().describe("What has to be filled in"),
});

/** Routes below `/registries`, and the import. */
export const IMPORT_ROUTES = {
  "GET /api/v1/registries": {
    id: "listRegistries",
    tag: "import",
    summary: "Lists the registries; none is asked for it",
    data: z.strictObject({
      registries: z.array(
        z.strictObject({
          id: z.string(),
          name: z.string(),
          description: z.string(),
          url: z.string(),
          servers_url: z.string(),
          tags: texts,
          protocol: z.string(),
        }),
      ),
      total: count,
    }),
  },
  "GET /api/v1/registries/:id/servers": {
    id: "searchRegistry",
    tag: "import",
    summary: "Searches the servers of a registry, which is asked for it",
    query: {
      q: z.string().optional(),
      tag: z.string().optional(),
      limit: numberQuery(1, 1_000),
    },
    data: z.strictObject({
      registry: z.string(),
      servers: z.array(registryServerShape),
      total: count,
      query: z.string().optional(),
      tag: z.string().optional(),
    }),
    errors: ["REGISTRY_FAILED", "REGISTRY_UNKNOWN", "USAGE"],
  },
  "POST /api/v1/registries/:id/servers/:server": {
    id: "addRegistryServer",
    tag: "import",
    summary: "Adds a server as a registry describes it, quarantined",
    body: registryAddBody,
    isBodyOptional: true,
    data: changeShape.extend({
      server: z.string(),
      quarantined: z.boolean(),
      required_inputs: z.array(inputShape),
    }),
    status: [201, 200],
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN", "REGISTRY_FAILED", "REGISTRY_UNKNOWN", "SERVER_EXISTS"],
  },
  "POST /api/v1/import": {
    id: "importServers",
    tag: "import",
    summary: "Adds the servers of another program's configuration, quarantined, as one change",
    description: "The text comes with the request; no file of the machine is read.",
    body: importBody,
    data: z.strictObject({
      format: z.string(),
      servers: z.array(
        z.strictObject({
          name: z.string(),
          status: z.enum(["added", "exists", "invalid"]),
          reason: z.string().optional(),
          renamed_from: z.string().optional(),
          placeholders: z.array(z.looseObject({})).optional().describe("Variables that have to be set"),
          warnings: texts.optional(),
        }),
      ),
      added: count,
      revision: z.int(),
      dry_run: z.literal(true).optional(),
    }),
    errors: CHANGE_ERRORS,
  },
} as const satisfies RouteTable;
