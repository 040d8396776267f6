/**
 * Why a request over the network got no answer, in the words of an operator.
 *
 * Owns the codes of sockets, names, TLS and HTTP that Bun's `fetch` fails with, and the one sentence for each. Invariants:
 * nothing that Bun says to programmers is in it ("pass `verbose: true` …"), and no address either, since that may hold a
 * secret; the code is, since that is what people search for. Showing the error's own message was rejected: it asks an
 * operator to change the second argument of a function.
 */

const WORDS: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "the connection was closed before the answer was there"],
  ["ECONNABORTED", "the connection was closed before the answer was there"],
  ["EPIPE", "the connection was closed while the request was sent"],
  ["ENOTFOUND", "the name of the host is unknown"],
  ["EAI_AGAIN", "no name server answers"],
  ["ETIMEDOUT", "no answer in time"],
  ["EHOSTUNREACH", "no way to the host"],
  ["ENETUNREACH", "no way to the network"],
  ["ENETDOWN", "the network is down"],
  ["ENOENT", "there is no such socket"],
  ["EPROTO", "the TLS handshake failed; a plain port is asked by 'http:'"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "its certificate is signed by itself"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "its certificate is signed by nobody known"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "its certificate is signed by nobody known"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "its certificate is signed by nobody known"],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "its certificate is for another host"],
  ["Malformed_HTTP_Response", "the answer is not HTTP"],
  ["TooManyRedirects", "it redirects without an end"],
  ["ZlibError", "the answer cannot be decompressed"],
]);

/** What Bun 1.4 says around a code; the error that had the code may be gone. */
const SAID: readonly RegExp[] = [
  /\b(\w+): (?:Unable to connect\.|The socket connection was closed|The TLS handshake failed|Was there a typo)/,
  /\b(\w+) fetching "[^\n]*pass `verbose: true`/,
  /\b(\w+): [^:\n]*pass `verbose: true`/,
  /^(?:SSE error: )?getaddrinfo (\w+)/,
];

/** Bun's advice to programmers. */
const ADVICE =
  /\.? ?(?:For more information, pass `verbose: true`[^\n]*|Is the computer able to access the url\?|Was there a typo in the url or port\?)/g;

/** How deep causes are looked into. */
const MAX_DEPTH = 5;

/** Says why, with the code; undefined when the error is none of the network. */
export function fetchFault(error: unknown): string | undefined {
  const code = fetchCode(error);
  return code === undefined ? undefined : `${WORDS.get(code) ?? "the request failed"} (${code})`;
}

/** The code of a fault of the network, as in `ECONNREFUSED`. */
export function fetchCode(error: unknown): string | undefined {
  let at = error;
  for (let depth = 0; at instanceof Error && depth < MAX_DEPTH; depth += 1, at = at.cause) {
    const code = codeOf(at);
    if (code !== undefined) return code;
  }
  return undefined;
}

/** Says why in any case; for want of better, in the error's own words without advice to programmers. */
export function explainFetch(error: unknown): string {
  return fetchFault(error) ?? withoutAdvice(error instanceof Error ? error.message : String(error));
}

function withoutAdvice(text: string): string {
  return text.replace(ADVICE, "").trim();
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { readonly code?: unknown };
  if (typeof code === "string" && WORDS.has(code)) return code;
  for (const form of SAID) {
    const [, said] = form.exec(error.message) ?? [];
    if (said !== undefined) return said;
  }
  return undefined;
}
