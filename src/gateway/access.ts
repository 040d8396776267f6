/**
 * Who may speak to the proxy over HTTP.
 *
 * Owns the checks of Host and Origin, which keep web pages out, and who a credential stands for. Invariants: every
 * route passes the first check; the key is compared in constant time; what is not understood is refused; whoever
 * guesses is slowed down, and whoever has the key is not. Trusting every loopback connection was rejected: a web page's requests come from loopback too
 * (DNS rebinding).
 */
import { isIP } from "node:net";

import { ProxyError } from "../core/errors.ts";
import { ADMIN, OPEN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import { RateLimit } from "../lib/rate_limit.ts";
import { TOKEN_PREFIX } from "../state/tokens.ts";
import type { Tokens } from "../state/tokens.ts";

const LOOPBACK_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const LOOPBACK_ADDRESSES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "::1"]);
const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
/** A request with a higher one has no address that could be read. */
const MAX_PORT = 65_535;
/** `name`, `name:port`, `1.2.3.4:port` or `[v6]:port`; nothing else is a Host. */
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i;

/** Wrong keys from one address: more than a person mistypes, and nothing against 256 bits. */
const MAX_FAILURES = 20;
const FAILURE_WINDOW_MS = 60_000;
const KEY_HINT =
  "Send it as 'X-API-Key' or 'Authorization: Bearer'; it stands in the file 'api_key' of the data dir";

/** The listener a request came by. */
export interface Peer {
  /** Whether it is the Unix socket, where no key is asked for. */
  readonly isSocket: boolean;
  /** The remote address of a request, when there is one. */
  readonly addressOf: (request: Request) => string | undefined;
}

/** Options of {@link Access.authenticate}. */
export interface AuthenticateOptions {
  /** Whether no credential at all is taken as well. @default false */
  readonly isOpen?: boolean;
  /** A key in the address, where that is allowed. */
  readonly inAddress?: string | undefined;
  /** The remote address; asked only when a credential is wrong. */
  readonly address?: () => string | undefined;
}

/** Options of {@link Access}. */
export interface AccessOptions {
  readonly settings: Pick<Settings, "listen" | "trustedHosts" | "requireMcpAuth">;
  readonly apiKey: string;
  /** Where tokens of agents are known. @default there are none */
  readonly tokens?: Pick<Tokens, "recognize" | "isCurrent">;
  /** Told of an address when it has sent too many wrong keys. */
  readonly onLimit?: (address: string) => void;
  /** A clock that never goes back, in milliseconds. @default performance.now */
  readonly now?: () => number;
}

/** Decides on requests. */
export class Access {
  readonly #ownHosts: readonly string[];
  #hosts: ReadonlySet<string> = LOOPBACK_NAMES;
  #needsMcpKey = true;
  readonly #isLocal: boolean;
  readonly #takesAddresses: boolean;
  readonly #keyHash: Uint8Array;
  readonly #tokens: AccessOptions["tokens"];
  readonly #onLimit: AccessOptions["onLimit"];
  readonly #failures: RateLimit;

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
    this.#tokens = options.tokens;
    this.#onLimit = options.onLimit;
    this.#failures = new RateLimit({
      max: MAX_FAILURES,
      windowMs: FAILURE_WINDOW_MS,
      ...(options.now === undefined ? {} : { now: options.now }),
    });
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

  /**
   * The same for a Unix socket, which has no name: any Host will do that is one, since a request with another has no
   * address to be routed by.
   *
   * @throws {ProxyError} `HOST_FORBIDDEN` for any Origin, no web page reaches a Unix socket, and for a malformed Host.
   */
  checkSocketOrigin(headers: Headers): void {
    const host = headers.get("host") ?? "";
    if (headers.has("origin") || !AUTHORITY.test(host) || !URL.canParse(`http://${host}/`)) {
      throw new ProxyError(
        "HOST_FORBIDDEN",
        "Cannot answer: what comes by the socket has a Host and no Origin",
        {
          hint: "Ask for http://localhost/ and send no 'Origin'",
        },
      );
    }
  }

  /**
   * Says who sends a request.
   *
   * @throws {ProxyError} `AUTH_REQUIRED` for a credential that is wrong, expired or revoked, and for none where one
   * is needed; `RATE_LIMITED` when too many wrong ones came from the same address.
   */
  authenticate(headers: Headers, options: AuthenticateOptions = {}): Principal {
    const sent = credentialOf(headers, options.inAddress);
    if (sent === undefined) {
      if (options.isOpen === true) return OPEN;
      throw new ProxyError("AUTH_REQUIRED", "Cannot answer: an API key is needed", { hint: KEY_HINT });
    }
    if (!this.#isLocal && this.#failures.size > 0) this.#assertMayGuess(options);
    const hash = digest(sent);
    if (crypto.timingSafeEqual(hash, this.#keyHash)) return ADMIN;
    const verdict = this.#tokens?.recognize(hash.toHex());
    if (verdict?.kind === "valid") return verdict.principal;
    if (verdict === undefined) this.#noteFailure(options.address?.());
    throw refusal(sent, verdict?.kind);
  }

  /** Whether a principal may go on with what it began: its token has neither ended nor been replaced. */
  isCurrent(principal: Principal): boolean {
    return principal.kind !== "agent" || this.#tokens?.isCurrent(principal) === true;
  }

  /**
   * Refuses an address that guesses before its guess is looked at. The right key always opens from this machine:
   * there one address is everybody's, and a script with an old key would lock the operator out.
   */
  #assertMayGuess({ address }: AuthenticateOptions): void {
    const from = address?.();
    if (from !== undefined && !isLoopback(plainAddress(from))) this.#assertNotLimited(peerKey(from));
  }

  /** A token that ran out was right once, so it counts as no guess; nor does an address nobody knows. */
  #noteFailure(address: string | undefined): void {
    if (address === undefined) return;
    const key = peerKey(address);
    this.#assertNotLimited(key);
    if (this.#failures.count(key)) this.#onLimit?.(key);
  }

  #assertNotLimited(key: string): void {
    const seconds = Math.ceil(this.#failures.waitMs(key) / 1_000);
    if (seconds === 0) return;
    throw new ProxyError("RATE_LIMITED", "Cannot answer: too many wrong keys came from this address", {
      data: { retry_after_s: seconds },
      hint: `Try again in ${seconds} s, with the key in the file 'api_key' of the data dir`,
    });
  }

  #isOurs(authority: string): boolean {
    const [, host, port = "0"] = AUTHORITY.exec(authority) ?? [];
    if (host === undefined || Number(port) > MAX_PORT) return false;
    const name = host.toLowerCase();
    return this.#hosts.has(name) || (this.#takesAddresses && isIP(name.replace(/^\[|\]$/g, "")) !== 0);
  }

  #isOurOrigin(origin: string): boolean {
    const authority = /^https?:\/\/([^/?#@]+)$/i.exec(origin)?.[1];
    return authority !== undefined && this.#isOurs(authority);
  }
}

function credentialOf(headers: Headers, inAddress: string | undefined): string | undefined {
  // An empty header is no credential, and hides none.
  const sent = headers.get("x-api-key") || /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (sent !== undefined) return sent.trim() || undefined;
  // Another scheme, or none: not understood, and so wrong.
  return headers.has("authorization") ? "" : inAddress || undefined;
}

function refusal(sent: string, kind: "expired" | "revoked" | undefined): ProxyError {
  if (kind === "expired") {
    return new ProxyError("AUTH_REQUIRED", "Cannot answer: the token has expired", {
      hint: "Ask the operator to regenerate it with another 'expires_in'",
    });
  }
  if (kind === "revoked") {
    return new ProxyError("AUTH_REQUIRED", "Cannot answer: the token was revoked", {
      hint: "Ask the operator for another one",
    });
  }
  return sent.startsWith(TOKEN_PREFIX)
    ? new ProxyError("AUTH_REQUIRED", "Cannot answer: the token is wrong", {
        hint: "Ask the operator for a token; a regenerated one has another secret",
      })
    : new ProxyError("AUTH_REQUIRED", "Cannot answer: the API key is wrong", { hint: KEY_HINT });
}

/** An IPv4 address that arrived at a socket for both families, as itself. */
function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** One key for each sender: whoever has an IPv6 address has the other 2^64 of its network as well. */
function peerKey(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) return plain;
  const [head = "", tail] = plain.replace(/%.*$/, "").split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/** Whether an address is reached from this machine only. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK_ADDRESSES.has(hostname) || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function digest(text: string): Uint8Array {
  return new Bun.CryptoHasher("sha256").update(text).digest();
}
