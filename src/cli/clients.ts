/**
 * The MCP clients this proxy can be written into: where each keeps its configuration, and what an entry looks like.
 *
 * Owns one row a client, as its makers document it. Invariants: nothing is read or written here; places come from the
 * home folder and the environment that are given, so that a test can be any machine. Asking each client's own command
 * line (`claude mcp add`, `codex mcp add`) was rejected: they differ, need the program in PATH, and know no undo.
 */
import { posix, win32 } from "node:path";

/** The machine as the table needs it. */
export interface ClientPlaces {
  readonly platform: NodeJS.Platform;
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** How a client reaches the proxy by URL. */
export interface HttpTarget {
  readonly url: string;
  /** Empty when no key is asked for. */
  readonly headers: Readonly<Record<string, string>>;
}

/** How a client starts the proxy. */
export interface StdioTarget {
  readonly command: string;
  readonly args: readonly string[];
}

/** An entry of a client's configuration. */
export type ClientEntry = Readonly<Record<string, unknown>>;

/** A program that uses MCP servers. */
export interface McpClient {
  readonly id: string;
  readonly title: string;
  /** Other words for it on the command line. */
  readonly aliases?: readonly string[];
  readonly format: "jsonc" | "toml" | "yaml";
  /** The key that holds the entries by name. */
  readonly key: string;
  /** The user's own file. */
  readonly file: (places: ClientPlaces) => string;
  /** The file of a project, from its folder; absent: there is none. */
  readonly projectFile?: string;
  /** Any of these shows that the client is installed. */
  readonly traces: (places: ClientPlaces) => readonly string[];
  /** Absent: it only starts programs. */
  readonly http?: (target: HttpTarget, name: string) => ClientEntry;
  readonly stdio: (target: StdioTarget, name: string) => ClientEntry;
  /** What has to be done for the client to see a change. */
  readonly next: string;
}

/** Keys of an entry that say how the server is reached; all else in it is the user's. */
export const REACH_KEYS: ReadonlySet<string> = new Set([
  "type",
  "transport",
  "url",
  "serverUrl",
  "httpUrl",
  "uri",
  "headers",
  "http_headers",
  "env_http_headers",
  "bearer_token_env_var",
  "command",
  "cmd",
  "args",
]);

const withHeaders = (name: string, { headers }: HttpTarget): ClientEntry =>
  Object.keys(headers).length === 0 ? {} : { [name]: headers };
const plain = ({ command, args }: StdioTarget): ClientEntry => ({ command, args });

/** All clients, by name. */
export const CLIENTS: readonly McpClient[] = [
  {
    // https://modelcontextprotocol.io/docs/develop/connect-local-servers; it starts programs only
    id: "claude-desktop",
    title: "Claude Desktop",
    format: "jsonc",
    key: "mcpServers",
    file: (places) => join(places, applicationFolder(places, "Claude"), "claude_desktop_config.json"),
    traces: (places) => [applicationFolder(places, "Claude")],
    stdio: plain,
    next: "Quit and open it again",
  },
  {
    // https://code.claude.com/docs/en/mcp: user scope in ~/.claude.json, project scope in .mcp.json
    id: "claude-code",
    title: "Claude Code",
    aliases: ["claude"],
    format: "jsonc",
    key: "mcpServers",
    file: (places) => join(places, places.env["CLAUDE_CONFIG_DIR"] ?? places.home, ".claude.json"),
    projectFile: ".mcp.json",
    traces: (places) => {
      const folder = places.env["CLAUDE_CONFIG_DIR"] ?? places.home;
      return [join(places, folder, ".claude.json"), join(places, places.home, ".claude")];
    },
    http: (target) => ({ type: "http", url: target.url, ...withHeaders("headers", target) }),
    stdio: (target) => ({ type: "stdio", ...plain(target) }),
    next: "Start a new session",
  },
  {
    // https://cursor.com/docs/mcp
    id: "cursor",
    title: "Cursor",
    format: "jsonc",
    key: "mcpServers",
    file: (places) => join(places, places.home, ".cursor", "mcp.json"),
    projectFile: ".cursor/mcp.json",
    traces: (places) => [join(places, places.home, ".cursor")],
    http: (target) => ({ url: target.url, ...withHeaders("headers", target) }),
    stdio: plain,
    next: "Reload its window",
  },
  {
    // https://code.visualstudio.com/docs/copilot/reference/mcp-configuration; file of the default profile
    id: "vscode",
    title: "VS Code",
    aliases: ["code", "vs-code"],
    format: "jsonc",
    key: "servers",
    file: (places) => join(places, applicationFolder(places, "Code"), "User", "mcp.json"),
    projectFile: ".vscode/mcp.json",
    traces: (places) => [applicationFolder(places, "Code")],
    http: (target) => ({ type: "http", url: target.url, ...withHeaders("headers", target) }),
    stdio: (target) => ({ type: "stdio", ...plain(target) }),
    next: "Start the server with 'MCP: List Servers'",
  },
  {
    // https://docs.windsurf.com/windsurf/cascade/mcp
    id: "windsurf",
    title: "Windsurf",
    format: "jsonc",
    key: "mcpServers",
    file: (places) => join(places, places.home, ".codeium", "windsurf", "mcp_config.json"),
    traces: (places) => [join(places, places.home, ".codeium", "windsurf")],
    http: (target) => ({ serverUrl: target.url, ...withHeaders("headers", target) }),
    stdio: plain,
    next: "Refresh the list of MCP servers in Cascade",
  },
  {
    // https://zed.dev/docs/ai/mcp; places: https://zed.dev/docs/configuring-zed
    id: "zed",
    title: "Zed",
    format: "jsonc",
    key: "context_servers",
    file: (places) => join(places, zedFolder(places), "settings.json"),
    projectFile: ".zed/settings.json",
    traces: (places) => [zedFolder(places)],
    http: (target) => ({ url: target.url, ...withHeaders("headers", target) }),
    stdio: plain,
    next: "Nothing: it reads its settings again by itself",
  },
  {
    // https://block.github.io/goose/docs/guides/config-files; an extension has `uri` and `cmd`, not `url` and `command`
    id: "goose",
    title: "Goose",
    format: "yaml",
    key: "extensions",
    file: (places) => join(places, gooseFolder(places), "config.yaml"),
    traces: (places) => [gooseFolder(places)],
    http: (target, name) => ({
      ...gooseHead("streamable_http", name),
      uri: target.url,
      ...withHeaders("headers", target),
      ...GOOSE_TAIL,
    }),
    stdio: ({ command, args }, name) => ({ ...gooseHead("stdio", name), cmd: command, args, ...GOOSE_TAIL }),
    next: "Start a new session",
  },
  {
    // https://developers.openai.com/codex/mcp; literal headers are `http_headers`, `headers` is ignored
    id: "codex",
    title: "Codex",
    format: "toml",
    key: "mcp_servers",
    file: (places) => join(places, codexFolder(places), "config.toml"),
    projectFile: ".codex/config.toml",
    traces: (places) => [codexFolder(places)],
    http: (target) => ({ url: target.url, ...withHeaders("http_headers", target) }),
    stdio: plain,
    next: "Start a new session",
  },
  {
    // https://geminicli.com/docs/tools/mcp-server: `url` is SSE, streamable HTTP is `httpUrl`
    id: "gemini",
    title: "Gemini CLI",
    aliases: ["gemini-cli"],
    format: "jsonc",
    key: "mcpServers",
    file: (places) => join(places, places.home, ".gemini", "settings.json"),
    projectFile: ".gemini/settings.json",
    traces: (places) => [join(places, places.home, ".gemini")],
    http: (target) => ({ httpUrl: target.url, ...withHeaders("headers", target) }),
    stdio: plain,
    next: "Restart it",
  },
];

const GOOSE_TAIL: ClientEntry = { envs: {}, env_keys: [], timeout: 300 };

function gooseHead(type: string, name: string): ClientEntry {
  return { enabled: true, type, name, description: "One endpoint for many MCP servers" };
}

/** Finds a client by its name or another word for it. */
export function findClient(word: string): McpClient | undefined {
  const id = word.toLowerCase().replaceAll(/[\s_]+/g, "-");
  return CLIENTS.find((client) => client.id === id || client.aliases?.includes(id));
}

/** Joins parts the way of the machine they are for. */
export function join({ platform }: Pick<ClientPlaces, "platform">, ...parts: readonly string[]): string {
  return (platform === "win32" ? win32 : posix).join(...parts);
}

/** Where desktop programs keep their files, by the habit of each system. */
function applicationFolder(places: ClientPlaces, name: string): string {
  if (places.platform === "darwin") {
    return join(places, places.home, "Library", "Application Support", name);
  }
  return join(places, places.platform === "win32" ? roaming(places) : xdgConfig(places), name);
}

function zedFolder(places: ClientPlaces): string {
  if (places.platform === "win32") return join(places, roaming(places), "Zed");
  if (places.platform === "darwin") return join(places, places.home, ".config", "zed");
  return join(places, xdgConfig(places), "zed");
}

function gooseFolder(places: ClientPlaces): string {
  if (places.platform === "win32") return join(places, roaming(places), "Block", "goose", "config");
  if (places.platform === "darwin") return join(places, places.home, ".config", "goose");
  return join(places, xdgConfig(places), "goose");
}

function codexFolder(places: ClientPlaces): string {
  return places.env["CODEX_HOME"] ?? join(places, places.home, ".codex");
}

function roaming(places: ClientPlaces): string {
  return places.env["APPDATA"] ?? join(places, places.home, "AppData", "Roaming");
}

function xdgConfig(places: ClientPlaces): string {
  return places.env["XDG_CONFIG_HOME"] ?? join(places, places.home, ".config");
}
