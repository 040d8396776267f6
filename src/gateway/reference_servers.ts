/**
 * The reference servers of the Model Context Protocol, known without asking anybody.
 *
 * Owns a short list of facts: name, package, what for. Invariant: each starts as it stands here, but for the argument a
 * person has to give. Fetching them was rejected: a machine without a connection shall find something too.
 */
import type { RegistryServer } from "./registry_entry.ts";

const SOURCE = "https://github.com/modelcontextprotocol/servers/tree/main/src";

type Fact = readonly [
  name: string,
  command: "npx" | "uvx",
  packaged: string,
  description: string,
  needs?: string,
];

const FACTS: readonly Fact[] = [
  ["everything", "npx", "@modelcontextprotocol/server-everything", "Exercises every feature of the protocol"],
  ["fetch", "uvx", "mcp-server-fetch", "Reads web pages as Markdown"],
  [
    "filesystem",
    "npx",
    "@modelcontextprotocol/server-filesystem",
    "Works on files below given folders",
    "folder",
  ],
  ["git", "uvx", "mcp-server-git", "Reads, searches and changes Git repositories"],
  ["memory", "npx", "@modelcontextprotocol/server-memory", "Remembers facts as a knowledge graph"],
  [
    "sequentialthinking",
    "npx",
    "@modelcontextprotocol/server-sequential-thinking",
    "Solves problems in steps of thought",
  ],
  ["time", "uvx", "mcp-server-time", "Tells the time and converts time zones"],
];

/** The servers as an answer of the registry `id` would hold them. */
export function referenceServers(id: string): readonly RegistryServer[] {
  return FACTS.map(([name, command, packaged, description, needs]) => {
    const args = command === "npx" ? ["-y", packaged] : [packaged];
    return {
      id: name,
      name,
      description,
      registry: id,
      command,
      args,
      install_cmd: [command, ...args].join(" "),
      repository_url: `${SOURCE}/${name}`,
      source_code_url: `${SOURCE}/${name}`,
      tags: ["reference"],
      ...(needs !== undefined && { required_inputs: [{ kind: "argument" as const, name: needs }] }),
    };
  });
}
