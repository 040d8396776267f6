/**
 * Tools for tests of the catalog: short ones by hand, many by seed.
 */
import { toolId } from "../../src/core/model.ts";
import type { JsonObject, Tool, ToolAnnotations, ToolDefinition } from "../../src/core/model.ts";

/** What a test tool may have beside its id. */
export interface TestToolOptions {
  readonly title?: string;
  readonly description?: string;
  readonly properties?: JsonObject;
  readonly annotations?: ToolAnnotations;
}

/** Makes a definition. */
export function makeDefinition(name: string, options: TestToolOptions = {}): ToolDefinition {
  const { properties = {}, ...rest } = options;
  return { name, ...rest, inputSchema: { type: "object", properties } };
}

/** Makes a tool from its id. */
export function makeTool(id: string, options: TestToolOptions = {}): Tool {
  const at = id.indexOf(":");
  const [server, name] = [id.slice(0, at), id.slice(at + 1)];
  return {
    id: toolId(server, name),
    server,
    name,
    definition: makeDefinition(name, options),
    fingerprint: JSON.stringify(options),
  };
}
