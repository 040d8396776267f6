/**
 * What a failed attempt means: its class, a sentence for the operator, and the way out.
 *
 * Owns the mapping from the errors of the system, of HTTP and of the MCP client to a failure class.
 * Invariant: every error gets exactly one class and a message without secrets; the class alone decides
 * whether trying again can help. Passing the raw errors on was rejected: three layers word the same
 * cause differently.
 */
import { SdkError, SdkErrorCode, SdkHttpError, UnauthorizedError } from "@modelcontextprotocol/client";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { FailureClass, Server } from "../core/model.ts";
import { redactText } from "../lib/redact.ts";
import type { ExitStatus } from "../lib/child.ts";

/** Why an upstream is not connected. */
export interface Failure {
  readonly class: FailureClass;
  /** One sentence, fit for a client. */
  readonly message: string;
  readonly hint: string;
  /** The last lines the process wrote to stderr, secrets hidden; empty for a URL. */
  readonly stderr: readonly string[];
  /** Unix milliseconds. */
  readonly at: number;
}

/** What is known beside the error when an attempt fails. */
export interface FailureContext {
  readonly server: Server;
  readonly exit?: ExitStatus | undefined;
  readonly stderr?: readonly string[];
  /** The deadline the attempt had, when it ran out. */
  readonly timedOutAfterMs?: number | undefined;
}

/** Stderr lines shown with a failure. */
const SHOWN_LINES = 5;

const RETRIED: ReadonlySet<FailureClass> = new Set(["timeout", "exit", "network", "rate_limited"]);

/** Whether an attempt after this failure can succeed without anybody acting. */
export function isRetriable(failure: Failure): boolean {
  return RETRIED.has(failure.class);
}

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
  };
}

interface Verdict {
  readonly class: FailureClass;
  readonly detail: string;
  readonly hint: string;
}

function classify(error: unknown, context: FailureContext): Verdict {
  if (error instanceof ProxyError) {
    return { class: "config", detail: error.message, hint: error.hint ?? "Mend the server's entry" };
  }
  return (
    startFault(error, context.server) ??
    exitFault(context) ??
    httpFault(error) ??
    timeoutFault(error, context) ??
    networkFault(error) ?? {
      class: "protocol",
      detail: redactText(messageOf(error)),
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
  const said = context.stderr?.findLast((line) => line.trim() !== "");
  const detail = said === undefined ? "" : `; it last said: ${said.trim().slice(0, 300)}`;
  return {
    class: "exit",
    detail: `the process ${how}${detail}`,
    hint: "Run the command of the entry by hand to see why it leaves",
  };
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
  const after = isOurs ? ` within ${Math.round((context.timedOutAfterMs ?? 0) / 1000)} s` : "";
  return {
    class: "timeout",
    detail: `it did not answer${after}`,
    hint: "Raise 'connection_timeout' of the entry if it needs longer to start",
  };
}

const NETWORK_CODES: ReadonlySet<unknown> = new Set([
  SdkErrorCode.ConnectionClosed,
  SdkErrorCode.SendFailed,
  SdkErrorCode.NotConnected,
  ...`ConnectionRefused ConnectionClosed ConnectionReset FailedToOpenSocket ECONNREFUSED ECONNRESET ENOTFOUND
    EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH EPIPE CERT_HAS_EXPIRED DEPTH_ZERO_SELF_SIGNED_CERT
    UNABLE_TO_VERIFY_LEAF_SIGNATURE`.split(/\s+/),
]);

function networkFault(error: unknown): Verdict | undefined {
  for (
    let link: unknown = error, depth = 0;
    link instanceof Error && depth < 5;
    link = link.cause, depth += 1
  ) {
    const { code } = link as { readonly code?: unknown };
    if (NETWORK_CODES.has(code) || link.message.startsWith("Unable to connect")) {
      return {
        class: "network",
        detail: `the connection failed: ${redactText(link.message)}`,
        hint: "Check that the server runs and that 'url' of the entry is right",
      };
    }
  }
  return undefined;
}
