/**
 * A GET of an address on the open network, for text nobody vouches for.
 *
 * Owns which addresses may be asked (http and https; no private, loopback or link-local one unless it was named itself),
 * how many redirects are followed, how long it may take and how much may come. Invariants: every hop is judged anew; the
 * whole is over by its deadline, however slowly the bytes come; no error names user info, query or fragment. Leaving
 * redirects to `fetch` was rejected: one answer from outside would reach what only this machine can.
 */
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

import { orAborted } from "./abort.ts";
import { capBody } from "./capped_body.ts";
import { fetchFault } from "./fetch_fault.ts";

/** Options of {@link fetchPublic}. */
export interface PublicFetchOptions {
  /** Of the answer as it comes out of decompression. */
  readonly maxBytes: number;
  /** For everything: names, redirects, the last byte. */
  readonly timeoutMs: number;
  /** Whether private addresses may be reached, at every hop. @default false: only one the address itself names */
  readonly isPrivateAllowed?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** Finds the addresses of a name. @default the system's */
  readonly resolve?: (hostname: string) => Promise<readonly string[]>;
}

/** An address that is not asked, or an answer that is no use; the message is fit to be shown. */
export class PublicFetchError extends Error {
  override readonly name = "PublicFetchError";
}

const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const USER_AGENT = "mcpproxy";

/** What is not on the open network (RFC 6890, RFC 4193, RFC 4291, RFC 6598). */
const PRIVATE = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const)
  PRIVATE.addSubnet(net, prefix, "ipv4");
for (const [net, prefix] of [
  // The unspecified address, loopback, and IPv4 addresses in the form nobody uses any more.
  ["::", 96],
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  // Tunnels, which hold an IPv4 address (RFC 4380, RFC 3056).
  ["2001::", 32],
  ["2002::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
] as const)
  PRIVATE.addSubnet(net, prefix, "ipv6");

/** Whether an address reaches this machine or its own network only. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  return family === 0 ? false : PRIVATE.check(address, family === 4 ? "ipv4" : "ipv6");
}

/**
 * Reads a text.
 *
 * @throws {PublicFetchError} when the address may not be asked, does not answer in time, or answers with too much or
 * another status than 2xx.
 */
export async function fetchPublic(address: string, options: PublicFetchOptions): Promise<string> {
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const first = readAddress(address);
  try {
    // A name that nobody answers for, or a body that drips, ends here too.
    return await orAborted(follow(first, options, deadline), deadline);
  } catch (error) {
    if (error instanceof PublicFetchError) throw error;
    if (deadline.aborted) throw new PublicFetchError(`no answer within ${options.timeoutMs / 1_000} s`);
    throw new PublicFetchError(
      error instanceof Error && error.name === "BodyTooLongError"
        ? error.message
        : `no connection to '${first.host}': ${fetchFault(error) ?? "the request failed"}`,
      { cause: error },
    );
  }
}

async function follow(first: URL, options: PublicFetchOptions, signal: AbortSignal): Promise<string> {
  let url = first;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    // Each hop decides where the next one leads.
    await judge(url, first, options);
    const response = await fetch(url, {
      redirect: "manual",
      signal,
      headers: { accept: "application/json", "user-agent": USER_AGENT, ...options.headers },
    });
    const to = REDIRECTS.has(response.status) ? response.headers.get("location") : null;
    if (to === null) return read(response, options.maxBytes);
    await response.body?.cancel();
    url = redirected(to, url);
  }
  throw new PublicFetchError(`more than ${MAX_REDIRECTS} redirects`);
}

async function read(response: Response, maxBytes: number): Promise<string> {
  if (!response.ok) {
    await response.body?.cancel();
    throw new PublicFetchError(`it answered with status ${response.status}`);
  }
  const said = Number(response.headers.get("content-length") ?? 0);
  if (said > maxBytes) {
    await response.body?.cancel();
    throw new PublicFetchError(`the answer is over ${maxBytes} bytes`);
  }
  return capBody(response, { maxBytes }).text();
}

function readAddress(text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw new PublicFetchError("the address is not complete");
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new PublicFetchError(`the address has the scheme '${url.protocol.slice(0, 20)}'`);
  return url;
}

function redirected(location: string, from: URL): URL {
  const url = URL.parse(location, from.href);
  if (url === null) throw new PublicFetchError("a redirect leads to no address");
  if (url.protocol !== "https:" && url.protocol !== from.protocol)
    throw new PublicFetchError(`a redirect leads from '${from.protocol}' to '${url.protocol.slice(0, 20)}'`);
  return url;
}

async function judge(url: URL, first: URL, options: PublicFetchOptions): Promise<void> {
  if (options.isPrivateAllowed === true) return;
  const host = hostOf(url);
  const isNamed = isIP(host) !== 0 || host === "localhost";
  // Whoever wrote a private address meant it; an answer that leads to one does not decide that.
  if (isNamed && host === hostOf(first)) return;
  const addresses = isIP(host) === 0 ? await addressesOf(host, options) : [host];
  if (!addresses.some(isPrivateAddress)) return;
  throw new PublicFetchError(`'${host}' is on a private network`);
}

/** Nothing for an unknown name: whoever fetches it will say so. */
async function addressesOf(host: string, { resolve }: PublicFetchOptions): Promise<readonly string[]> {
  try {
    if (resolve !== undefined) return await resolve(host);
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
}

function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, "").toLowerCase();
}
