/**
 * Which registries of servers there are.
 *
 * Owns the ones that are known without being configured, and how entries of the file stand beside and over them. Invariant:
 * an entry with a known id changes that one, key by key, and any other is added; nothing is fetched here. Writing the
 * known ones into the file was rejected: they would outlive what they point to there.
 */
import type { RegistryDefinition } from "../core/settings.ts";

/** An entry of `registries` as it is written. */
export interface RegistryEntry {
  readonly id: string;
  readonly name?: string | undefined;
  readonly url?: string | undefined;
  readonly servers_url?: string | undefined;
  readonly description?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly protocol?: string | undefined;
  readonly allow_private?: boolean | undefined;
}

/** Servers that are listed without asking anybody. */
export const BUILTIN_PROTOCOL = "builtin/reference";

/** Those the Go proxy knows as well, under the same ids. */
const KNOWN: readonly RegistryDefinition[] = [
  {
    id: "official",
    name: "Official MCP Registry",
    description: "The registry of the Model Context Protocol itself",
    url: "https://registry.modelcontextprotocol.io/",
    serversUrl: "https://registry.modelcontextprotocol.io/v0.1/servers",
    tags: ["verified", "official"],
    protocol: "modelcontextprotocol/registry",
    isPrivateAllowed: false,
  },
  {
    id: "reference",
    name: "Reference Servers",
    description: "The reference servers of the Model Context Protocol, known without a connection",
    url: "https://github.com/modelcontextprotocol/servers",
    serversUrl: "builtin://reference",
    tags: ["verified", "official", "reference"],
    protocol: BUILTIN_PROTOCOL,
    isPrivateAllowed: false,
  },
  {
    id: "docker-mcp-catalog",
    name: "Docker MCP Catalog",
    description: "MCP servers as Docker images",
    url: "https://hub.docker.com/catalogs/mcp",
    serversUrl: "https://hub.docker.com/v2/repositories/mcp/",
    tags: ["verified"],
    protocol: "custom/docker",
    isPrivateAllowed: false,
  },
];

/** Puts the entries of the file beside and over the known registries. */
export function registriesOf(entries: readonly RegistryEntry[]): readonly RegistryDefinition[] {
  const all = new Map(KNOWN.map((registry) => [registry.id, registry]));
  for (const entry of entries) {
    const known = all.get(entry.id);
    all.set(entry.id, {
      id: entry.id,
      name: entry.name || known?.name || entry.id,
      description: entry.description ?? known?.description ?? "",
      url: entry.url ?? known?.url ?? "",
      serversUrl: entry.servers_url || known?.serversUrl || entry.url || "",
      tags: entry.tags ?? known?.tags ?? [],
      protocol: entry.protocol ?? known?.protocol ?? "",
      isPrivateAllowed: entry.allow_private ?? false,
    });
  }
  return [...all.values()];
}
