/**
 * What a failed attempt means: its class, a sentence for the operator, and the way out.
 *
 * Owns the mapping from the errors of the system, of HTTP and of the MCP client to a failure class.
 * Invariant: every error gets exactly one class and a message without secrets; the class alone decides
 * whether trying again can help. Passing the raw errors on was rejected: three layers word the same
 * cause differently.
 */
import {
  SdkError,
  SdkErrorCode,
  SdkHttpError,
  SseError,
  UnauthorizedError,
} from "@modelcontextprotocol/client";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { FailureClass, Server } from "../core/model.ts";
import { explainFetch, fetchCode, fetchFault } from "../lib/fetch_fault.ts";
import { redactText } from "../lib/redact.ts";
import type { ExitStatus } from "../lib/child.ts";
import type { Failure } from "./link.ts";

/** What is known beside the error when an attempt fails. */
export interface FailureContext {
  readonly server: Server;
  readonly exit?: ExitStatus | undefined;
  readonly stderr?: readonly string[];
  /** The deadline the attempt had, when it ran out. */
  readonly timedOutAfterMs?: number | undefined;
  /** How long the server asked to be left alone. */
  readonly retryAfterMs?: number | undefined;
  /** Hides what the server's entry holds of secrets. @default by form alone */
  readonly redact?: (text: string) => string;
}

/** Stderr lines shown with a failure. */
const SHOWN_LINES = 5;
/** Of them, those that go into the sentence, and how much of it they may take. */
const TELLING_LINES = 2;
const SAID_CHARS = 400;

/** Finds class, sentence and way out for an error. */
export function describeFailure(error: unknown, context: FailureContext): Failure {
  const { server, stderr = [] } = context;
  const found = classify(error, context);
  return {
    class: found.class,
    message: `Cannot connect '${server.name}': ${found.detail}`,
    hint: found.hint,
    stderr: stderr.slice(-SHOWN_LINES),
    at: Date.now(),
    ...(context.retryAfterMs === undefined ? {} : { retryAfterMs: context.retryAfterMs }),
    ...(isOwnLimit(error) ? { isOurs: true } : {}),
    ...(found.class === "network" && UNREACHED.has(fetchCode(error)) ? { isUnreached: true } : {}),
  };
}

/** Too many open files or processes here: the server may be well. */
function isOwnLimit(error: unknown): boolean {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return code === "EMFILE" || code === "ENFILE" || code === "EAGAIN";
}

interface Verdict {
  readonly class: FailureClass;
  readonly detail: string;
  readonly hint: string;
}

function classify(error: unknown, context: FailureContext): Verdict {
  const { redact = (text) => redactText(text) } = context;
  if (error instanceof ProxyError) {
    return { class: "config", detail: error.message, hint: error.hint ?? "Mend the server's entry" };
  }
  if (isOwnLimit(error)) {
    return {
      class: "network",
      detail: "the proxy has reached a limit of its own on files or processes",
      hint: "Raise the limits with 'ulimit -n' and 'ulimit -u', or lower 'max_concurrent_connections'",
    };
  }
  return (
    startFault(error, context.server) ??
    exitFault(context) ??
    httpFault(error) ??
    timeoutFault(error, context) ??
    networkFault(error, { url: context.server.url, redact }) ?? {
      class: "protocol",
      detail: redact(explainFetch(error)),
      hint: "The server answered, but not as MCP: check its version and that the entry's protocol fits",
    }
  );
}

/** Where to get the programs that start most servers. */
const INSTALL_HINTS: ReadonlyMap<string, string> = new Map([
  ["uvx", "Install uv, for example with 'pip install uv', so that 'uvx' is in PATH"],
  ["uv", "Install uv, for example with 'pip install uv', so that 'uv' is in PATH"],
  ["npx", "Install Node.js with npm, so that 'npx' is in PATH"],
  ["docker", "Install Docker and start its daemon, so that 'docker' is in PATH"],
]);

function startFault(error: unknown, server: Server): Verdict | undefined {
  const code = (error as { readonly code?: unknown } | null)?.code;
  const command = server.command ?? "";
  if (server.command === undefined || (code !== "ENOENT" && code !== "EACCES")) return undefined;
  if (code === "EACCES") {
    return {
      class: "config",
      detail: `command '${command}' may not be executed`,
      hint: `Run 'chmod +x ${command}'`,
    };
  }
  if (server.workingDir !== undefined && command !== "" && messageOf(error).includes("posix_spawn")) {
    return {
      class: "config",
      detail: `command '${command}' or working_dir '${server.workingDir}' was not found`,
      hint: "Check 'command' and 'working_dir' of the server's entry",
    };
  }
  return {
    class: "config",
    detail: `command '${command}' was not found in PATH`,
    hint: INSTALL_HINTS.get(command) ?? `Install '${command}', or give its full path as 'command'`,
  };
}

function exitFault(context: FailureContext): Verdict | undefined {
  const { exit } = context;
  if (exit === undefined) return undefined;
  const how = exit.signal === null ? `exited with code ${exit.code}` : `was ended by ${exit.signal}`;
  const said = tellingLines(context.stderr ?? [])
    .join(" / ")
    .slice(0, SAID_CHARS);
  return {
    class: "exit",
    detail: `the process ${how}${said === "" ? "" : `; it last said: ${said}`}`,
    hint: exitHint(context.stderr ?? []),
  };
}

/** What surrounds the reason: stack frames, carets, what npm says at every end. */
const NOISE =
  /^\s*(?:$|at |\^+\s*$|File "|Traceback|During handling|npm (?:warn|notice)|npm error(?: A complete log|\s*$)|Node\.js v|[{}\]]+;?\s*$)/i;
const COMPLAINT =
  /\b(?:error|exception|fatal|panic|fail(?:ed|ure)?|cannot|can't|could not|unable|missing|required|invalid|denied|refused|no such|not found|not set|must)\b/i;

/** The lines that give the reason: the last complaints, or else the last words. */
function tellingLines(stderr: readonly string[]): string[] {
  const lines = stderr.filter((line) => !NOISE.test(line)).map((line) => line.trim());
  const complaints = lines.filter((line) => COMPLAINT.test(line));
  return complaints.length > 0 ? complaints.slice(-TELLING_LINES) : lines.slice(-1);
}

/** Causes that many programs share, told by what they print; the first match wins. */
const EXIT_HINTS: readonly (readonly [sign: RegExp, hint: string])[] = [
  [
    /npx canceled due to missing packages|could not determine executable to run/i,
    "Install the package, or put '-y' before its name in 'args' so that npx downloads it",
  ],
  [
    /\bE404\b|404 Not Found|was not found in the package registry|No solution found when resolving/i,
    "Check the name and version of the package in 'args'",
  ],
  [
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|dns error|Failed to fetch|network is unreachable/,
    "Check the network; variables of a proxy or a package mirror reach the program only if 'environment.allowed_system_vars' names them",
  ],
  [
    /Cannot connect to the Docker daemon|docker daemon running/i,
    "Start Docker; 'docker info' tells whether it runs",
  ],
];
/** A line that asks for a variable, and the variables in it. */
const WANTING =
  /\b(?:required|missing|not set|not provided|not defined|undefined|unset|must|provide|need(?:s|ed)?)\b/i;
const VARIABLE = /(?<![\w-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)/g;
const KEY = /\b(?:api[- ]?key|access token|token|credentials?|password)\b/i;

function exitHint(stderr: readonly string[]): string {
  const known = EXIT_HINTS.find(([sign]) => stderr.some((line) => sign.test(line)));
  if (known) return known[1];
  const wanting = stderr.filter((line) => WANTING.test(line) && !NOISE.test(line));
  const variable = wanting
    .flatMap((line) => line.match(VARIABLE) ?? [])
    .find((name) => !/^(?:ERR|E[A-Z]+|MODULE)_/.test(name));
  if (variable !== undefined) return `Set '${variable}' in 'env' of the server's entry`;
  if (wanting.some((line) => KEY.test(line))) {
    return "Give the server its key in 'env' of its entry, under the name its documentation says";
  }
  return "Run the command of the entry by hand to see why it leaves";
}

function httpFault(error: unknown): Verdict | undefined {
  if (error instanceof UnauthorizedError) return authVerdict(401);
  const status =
    error instanceof SdkHttpError ? error.status : (error as { readonly code?: unknown } | null)?.code;
  if (typeof status !== "number" || status < 300 || status > 599) return undefined;
  if (status === 401 || status === 403) return authVerdict(status);
  if (status === 429) {
    return {
      class: "rate_limited",
      detail: "the server answered HTTP 429",
      hint: "It asks for fewer requests; wait",
    };
  }
  if (status >= 500) {
    return {
      class: "network",
      detail: `the server answered HTTP ${status}`,
      hint: "Look at the log of that server",
    };
  }
  return {
    class: "protocol",
    detail: `the server answered HTTP ${status}`,
    hint: "Check 'url' of the entry",
  };
}

function authVerdict(status: number): Verdict {
  return {
    class: "auth",
    detail: `the server wants a login (HTTP ${status})`,
    hint: "Set an 'Authorization' header in 'headers' of the server's entry",
  };
}

function timeoutFault(error: unknown, context: FailureContext): Verdict | undefined {
  const isOurs = context.timedOutAfterMs !== undefined;
  const isTheirs = error instanceof SdkError && error.code === SdkErrorCode.RequestTimeout;
  if (!isOurs && !isTheirs) return undefined;
  const { timedOutAfterMs: ms = 0 } = context;
  const after = ms <= 0 ? "" : ` within ${ms < 1_000 ? `${ms} ms` : `${Math.round(ms / 1_000)} s`}`;
  return {
    class: "timeout",
    detail: `it did not answer${after}`,
    hint: "Raise 'connection_timeout' of the entry if it needs longer to start",
  };
}

/** Nothing came back from the host. */
const UNREACHED: ReadonlySet<string | undefined> = new Set(
  "ECONNREFUSED ENOTFOUND EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN".split(" "),
);

const NETWORK_CODES: ReadonlySet<unknown> = new Set([
  SdkErrorCode.ConnectionClosed,
  SdkErrorCode.SendFailed,
  SdkErrorCode.NotConnected,
  ...`ConnectionRefused ConnectionClosed ConnectionReset FailedToOpenSocket ECONNREFUSED ECONNRESET ENOTFOUND
    EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH EPIPE CERT_HAS_EXPIRED DEPTH_ZERO_SELF_SIGNED_CERT
    UNABLE_TO_VERIFY_LEAF_SIGNATURE`.split(/\s+/),
]);

function networkFault(
  error: unknown,
  { url, redact }: { readonly url: string | undefined; readonly redact: (text: string) => string },
): Verdict | undefined {
  for (
    let link: unknown = error, depth = 0;
    link instanceof Error && depth < 5;
    link = link.cause, depth += 1
  ) {
    const { code } = link as { readonly code?: unknown };
    // The SDK's SSE client tells an HTTP status as the code, and has none when no answer came.
    const isSilentSse = link instanceof SseError && code === undefined;
    if (NETWORK_CODES.has(code) || isSilentSse || link.message.startsWith("Unable to connect")) {
      return {
        class: "network",
        detail: redact(`${reachOf(error, url)}: ${explainFetch(link)}`),
        hint: "Check that the server runs and that 'url' of the entry is right",
      };
    }
  }
  return undefined;
}

/** What could not be done; the host stands in it where the network says why, and never a reference to a secret. */
function reachOf(error: unknown, url: string | undefined): string {
  const origin = url === undefined || fetchFault(error) === undefined ? undefined : URL.parse(url)?.origin;
  const isPlain = origin !== undefined && origin !== "null" && !/[${}]|%7b/i.test(origin);
  return isPlain ? `cannot reach ${origin}` : "the connection failed";
}
