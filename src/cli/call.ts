/**
 * `mcpproxy call`: a tool called with the intent the verb names, in the words of the Go proxy.
 *
 * Owns what becomes of arguments and results. Invariants: the proxy's own rules decide what a verb may call; text of a
 * result steers no terminal; stdout holds the result and nothing else, so that it can be piped. The frame of the Go
 * proxy around a result was rejected: scripts had to cut it off.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { parseDuration } from "../lib/duration.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { cleanText, dataText, printData } from "./output.ts";

const VARIANTS = {
  "tool-read": "call_tool_read",
  "tool-write": "call_tool_write",
  "tool-destructive": "call_tool_destructive",
  tool: "call_tool",
} as const;

type Envelope = Readonly<Record<string, unknown>>;

/** Runs a verb of `call`. */
export function runCall(args: readonly string[], io: CommandIo): Promise<number> {
  const verbs = Object.fromEntries(
    Object.entries(VARIANTS).map(([verb, variant]) => [
      verb,
      (words: readonly string[], at: CommandIo) => call(words, { verb, variant, io: at }),
    ]),
  );
  return runVerb("call", { verbs, args, io });
}

async function call(
  args: readonly string[],
  { verb, variant, io }: { readonly verb: string; readonly variant: string; readonly io: CommandIo },
): Promise<number> {
  const command = readWords(`call ${verb}`, args);
  const { flags, values } = command;
  const name = textFlag(values["tool-name"]);
  const usage = `Usage: ${usageOf(`call ${verb}`)}`;
  if (name === undefined)
    throw new ProxyError("USAGE", "Cannot call a tool: --tool-name is missing", { hint: usage });
  const text = textFlag(values["json_args"]) ?? textFlag(values["json-args"]) ?? "{}";
  const given = readArguments(text, `--json_args '{"path": "a.txt"}'`);
  const timeout = textFlag(values["timeout"]);
  const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout);
  if (timeout !== undefined && timeoutMs === undefined) {
    throw new ProxyError("USAGE", `Cannot wait '${timeout}': it is no time`, { hint: "Write it as in 30s" });
  }
  const api = await findDaemon(flags, io);
  const reason = textFlag(values["reason"]);
  const sensitivity = textFlag(values["sensitivity"]);
  // What has no server is one of the proxy's own tools.
  const isOwn = verb === "tool" && !name.includes(":");
  const request = isOwn
    ? { tool_name: name, arguments: given }
    : {
        tool_name: variant,
        arguments: {
          name,
          args: given,
          ...(reason === undefined ? {} : { reason }),
          ...(sensitivity === undefined ? {} : { intent_data_sensitivity: sensitivity }),
        },
      };
  const { envelope } = await api.post("/tools/call", request, { timeoutMs });
  const isError = envelope["is_error"] === true;
  if (flags.isJson) printData(resultOf(envelope), flags, io);
  else printResult(envelope, isError ? io.stderr : io.stdout);
  return isError ? 1 : 0;
}

/**
 * Reads the arguments of a call; `example` is how they are written there.
 *
 * @throws {ProxyError} `USAGE`
 */
export function readArguments(text: string, example: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Falls through: the arguments are not shown, they may hold secrets.
  }
  throw new ProxyError("USAGE", "Cannot call a tool: its arguments are no JSON object", {
    hint: `Write them as in ${example}, in single quotes`,
  });
}

/** The result as MCP has it. */
function resultOf(envelope: Envelope) {
  const { data, is_error: isError, structured_content: structured } = envelope;
  return {
    content: data,
    ...(structured === undefined ? {} : { structuredContent: structured }),
    ...(isError === true ? { isError } : {}),
  };
}

/** Prints the text of a result; what a terminal cannot show is named. */
export function printResult(envelope: Envelope, print: (text: string) => void): void {
  const content = (envelope["data"] ?? []) as readonly Envelope[];
  for (const block of content) print(`${blockText(block)}\n`);
  const structured = envelope["structured_content"];
  if (content.length === 0 && structured !== undefined) print(dataText(structured, "json"));
}

function blockText({ type, text, data, mimeType }: Envelope): string {
  if (typeof text === "string") return cleanText(text);
  const kind = [type, mimeType].filter((part) => typeof part === "string").join(" ");
  const size = typeof data === "string" ? `, ${data.length} base64 characters` : "";
  return `[${oneLine(kind)}${size}; --json has it]`;
}
