/**
 * Who may speak to the proxy over HTTP.
 *
 * Owns the checks of Host and Origin, which keep web pages out, and of the API key. Invariants: every
 * route passes the first check, a key is compared in constant time, and what is not understood is
 * refused. Trusting every loopback connection was rejected: a web page's requests come from loopback too
 * (DNS rebinding).
 */
import { timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";

import { ProxyError } from "../core/errors.ts";
import type { Settings } from "../core/settings.ts";

const LOOPBACK_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const LOOPBACK_ADDRESSES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "::1"]);
const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
/** `name`, `name:port`, `1.2.3.4:port` or `[v6]:port`; nothing else is a Host. */
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i;

/** Options of {@link Access}. */
export interface AccessOptions {
  readonly settings: Pick<Settings, "listen" | "trustedHosts" | "requireMcpAuth">;
  readonly apiKey: string;
}

/** Decides on requests. */
export class Access {
  readonly #ownHosts: readonly string[];
  #hosts: ReadonlySet<string> = LOOPBACK_NAMES;
  #needsMcpKey = true;
  readonly #isLocal: boolean;
  readonly #takesAddresses: boolean;
  readonly #keyHash: Uint8Array;

  /** @throws {ProxyError} `CONFIG_INVALID` when MCP without a key would be open beyond this machine. */
  constructor(options: AccessOptions) {
    const { hostname } = options.settings.listen;
    const isLocal = isLoopback(hostname);
    if (!isLocal && !options.settings.requireMcpAuth) {
      throw new ProxyError(
        "CONFIG_INVALID",
        `Cannot listen on '${hostname}': MCP clients would need no key there`,
        {
          hint: "Set 'require_mcp_auth' to true, or listen on '127.0.0.1'",
        },
      );
    }
    const own = WILDCARDS.has(hostname) ? [] : [hostname.includes(":") ? `[${hostname}]` : hostname];
    this.#isLocal = isLocal;
    this.#ownHosts = own;
    this.#takesAddresses = WILDCARDS.has(hostname);
    this.#keyHash = digest(options.apiKey);
    this.apply(options.settings);
  }

  /** Whether MCP clients need the key: as the settings say, and always beyond this machine. */
  get needsMcpKey(): boolean {
    return this.#needsMcpKey;
  }

  /** Takes the settings that may change while the listener runs. */
  apply(settings: Pick<Settings, "trustedHosts" | "requireMcpAuth">): void {
    const names = [...LOOPBACK_NAMES, ...this.#ownHosts, ...settings.trustedHosts];
    this.#hosts = new Set(names.map((name) => name.toLowerCase()));
    this.#needsMcpKey = settings.requireMcpAuth || !this.#isLocal;
  }

  /** @throws {ProxyError} `HOST_FORBIDDEN` for a foreign or malformed Host or Origin. */
  checkOrigin(headers: Headers): void {
    // Two Host headers arrive joined by a comma, which no authority holds.
    const host = headers.get("host");
    if (host === null || !this.#isOurs(host)) {
      throw new ProxyError(
        "HOST_FORBIDDEN",
        "Cannot answer: the Host of the request is not one of this proxy",
        {
          hint: "Use 127.0.0.1 or localhost, or name the host in 'trusted_hosts'",
        },
      );
    }
    const origin = headers.get("origin");
    if (origin !== null && !this.#isOurOrigin(origin)) {
      throw new ProxyError("HOST_FORBIDDEN", "Cannot answer: the request comes from a foreign web page", {
        hint: "Name the page's host in 'trusted_hosts' if it is yours",
      });
    }
  }

  /** @throws {ProxyError} `AUTH_REQUIRED` unless the request carries the API key. */
  checkKey(headers: Headers): void {
    const sent = headers.get("x-api-key") ?? /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
    if (sent !== undefined && timingSafeEqual(digest(sent.trim()), this.#keyHash)) return;
    throw new ProxyError(
      "AUTH_REQUIRED",
      `Cannot answer: ${sent === undefined ? "an API key is needed" : "the API key is wrong"}`,
      {
        hint: "Send it as 'X-API-Key' or 'Authorization: Bearer'; it stands in the file 'api_key' of the data dir",
      },
    );
  }

  #isOurs(authority: string): boolean {
    const name = AUTHORITY.exec(authority)?.[1]?.toLowerCase();
    if (name === undefined) return false;
    return this.#hosts.has(name) || (this.#takesAddresses && isIP(name.replace(/^\[|\]$/g, "")) !== 0);
  }

  #isOurOrigin(origin: string): boolean {
    const authority = /^https?:\/\/([^/?#@]+)$/i.exec(origin)?.[1];
    return authority !== undefined && this.#isOurs(authority);
  }
}

/** Whether an address is reached from this machine only. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK_ADDRESSES.has(hostname) || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function digest(text: string): Uint8Array {
  return new Bun.CryptoHasher("sha256").update(text).digest();
}
