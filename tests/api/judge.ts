/**
 * Says whether an answer is one that the reference promises.
 *
 * Owns the comparison of a real answer with its route's entry: the status, the shape without one field too many, the code of
 * an error; and with the schema in the served document, which is made of the same entry another way. Invariant: a status
 * of the 500s is a fault, promised or not, unless a registry or an upstream failed where one is asked.
 */
import { Validator } from "@cfworker/json-schema";
import { z } from "zod";
import { openApiDocument } from "../../src/api/openapi.ts";
import { REFERENCE } from "../../src/api/reference.ts";
import { commonErrors, errorShape } from "../../src/api/reference_entry.ts";
import type { RouteEntry, RouteTable } from "../../src/api/reference_entry.ts";
import { ERRORS } from "../../src/core/errors.ts";
import type { ErrorCode } from "../../src/core/errors.ts";

/** The table without what each entry is in particular. */
export const ROUTES: RouteTable = REFERENCE;

/** An answer of the proxy. */
export interface JudgedAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** What the proxy asks may fail, the proxy may not: the only failures of the 500s that may come, by their routes. */
const FOREIGN_FAILURES: Readonly<Record<string, ErrorCode>> = {
  "GET /api/v1/registries/:id/servers": "REGISTRY_FAILED",
  "POST /api/v1/registries/:id/servers/:server": "REGISTRY_FAILED",
  "POST /api/v1/tools/call": "UPSTREAM_FAILED",
};
const envelopes = new Map<RouteEntry, z.ZodType>();
const validators = new Map<string, Validator>();

/** What is wrong with an answer; nothing when it is as the reference says. */
export function judge(route: string, answer: JudgedAnswer): readonly string[] {
  const entry = ROUTES[route];
  if (entry === undefined) return [`'${route}' is not in the reference`];
  const { status, headers, text } = answer;
  const faults =
    status >= 500 && !isForeignFailure(route, answer) ? [`${status}: ${text.slice(0, 500)}`] : [];
  const other = entry.others?.[status];
  if (other?.media !== undefined) {
    const type = headers.get("content-type") ?? "";
    if (!type.startsWith(other.media) && !type.startsWith("text/"))
      faults.push(`${type} is not ${other.media}`);
    return faults;
  }
  if (other !== undefined && other.json === undefined) return faults;
  const body = parse(text);
  const isDone = entry.data !== undefined && (entry.status ?? [200]).includes(status);
  const shape = other?.json ?? (isDone ? envelopeOf(entry) : errorShape);
  const checked = shape.safeParse(body);
  if (!checked.success) faults.push(`${status}: ${z.prettifyError(checked.error)} in ${text.slice(0, 300)}`);
  if (other === undefined && !isDone && checked.success) faults.push(...judgeCode(entry, { status, body }));
  if (checked.success) faults.push(...judgeByDocument(route, { status, body }));
  if (/node_modules|\.ts:\d/.test(text) && status >= 400) faults.push("a stack is in the answer");
  return faults;
}

/** Whether a failure of the 500s is that of a registry or an upstream, on a route that asks one. */
export function isForeignFailure(route: string, { status, text }: Omit<JudgedAnswer, "headers">): boolean {
  const code = FOREIGN_FAILURES[route];
  const body = parse(text) as { readonly code?: unknown } | undefined;
  return code !== undefined && status === ERRORS[code].http && body?.code === code;
}

function envelopeOf(entry: RouteEntry): z.ZodType {
  let envelope = envelopes.get(entry);
  if (envelope === undefined) {
    const { data = z.never(), beside = {} } = entry;
    envelope = z.strictObject({ success: z.literal(true), data, ...beside });
    envelopes.set(entry, envelope);
  }
  return envelope;
}

function judgeCode(entry: RouteEntry, { status, body }: { readonly status: number; readonly body: unknown }) {
  const { code } = body as { readonly code: ErrorCode };
  const promised: readonly string[] = [...commonErrors(entry), ...(entry.errors ?? [])];
  const faults: string[] = [];
  if (!promised.includes(code)) faults.push(`${code} is not promised: ${(body as { error: string }).error}`);
  if (ERRORS[code].http !== status) faults.push(`${code} comes with ${status}`);
  return faults;
}

/** The schema as a program that knows the document alone finds it. */
function judgeByDocument(
  route: string,
  { status, body }: { readonly status: number; readonly body: unknown },
) {
  const key = `${route} ${status}`;
  let validator = validators.get(key);
  if (validator === undefined) {
    const schema = schemaOf(route, status);
    if (schema === undefined) return [`${status} is not in the document`];
    const { components } = openApiDocument();
    validator = new Validator({ ...schema, components }, "2020-12");
    validators.set(key, validator);
  }
  const { valid, errors } = validator.validate(body);
  return valid ? [] : [`${status} does not fit the document: ${errors.map(({ error }) => error).join("; ")}`];
}

/** The schema of an answer in the document. */
function schemaOf(route: string, status: number): Record<string, unknown> | undefined {
  const [method = "", path = ""] = route.split(" ");
  const steps = [
    "paths",
    path.replaceAll(/:(\w+)/g, "{$1}"),
    method.toLowerCase(),
    "responses",
    String(status),
  ];
  let value: unknown = openApiDocument();
  for (const step of [...steps, "content", "application/json", "schema"]) {
    value = (value as Record<string, unknown> | undefined)?.[step];
  }
  return value as Record<string, unknown> | undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
