/**
 * Hides secrets in text and data that leave the process: logs, events, errors, API answers, exports.
 *
 * Owns what looks like a secret: by name (`API_KEY`), by form (`sk-…`, JSON Web Tokens) and by place (user
 * info and query of a URL, the value behind `--token`). Invariants: a mask shows nothing of what it hides,
 * not even the length; `${env:NAME}` references stay readable; never throws. Showing the last four signs
 * was rejected: for short secrets that is most of it, and in exports it identifies a key.
 */

/** What stands in the place of a secret. */
export const MASK = "***";

const SECRET_NAME =
  /token|secret|passw|passphrase|pwd|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|signing[-_ ]?key|[-_]key$|^key$|^apikey$|auth|credential|cookie|session[-_ ]?id|bearer|signature|^sig$|^pat$|[-_]pat$|dsn$|connection[-_ ]?string/i;
/** Names that only look so. */
const PLAIN_NAME =
  /^(?:author|authors|author_?name|tokenizer|max_?tokens|token_?(?:limit|count|url)|auth_?(?:type|mode|url))$/i;

const SECRET_FORMS = [
  /\b(?:sk|pk|rk|xox[abeoprs]|gh[oprsu]|glpat|npm|hf|pypi|shpat|dop_v1|figd|lin_api|ntn|secret|tvly|fc|ctx7sk)[-_][\w-]{8,}/g,
  /\bgithub_pat_\w{8,}/g,
  /\b(?:AKIA|ASIA)[A-Z\d]{16}\b/g,
  /\bAIza[\w-]{20,}/g,
  /\beyJ[\w-]{4,4000}\.[\w-]{4,}(?:\.[\w-]*)?/g,
];
const REFERENCE = /^\$\{[a-z]+:[^}]*\}$/;
const AUTH_SCHEME = /\b(Bearer|Basic|Token|ApiKey)(\s+)[^\s"',;]+/gi;
const URL_IN_TEXT = /\b[a-z][a-z\d+.-]{0,30}:\/\/[^\s"'<>`]+/gi;
/** The quotes of JSON within JSON have backslashes before them. */
const PAIR_IN_TEXT =
  /(\\*["']|)([A-Za-z][\w.-]{1,60})\1(\s*[=:]\s*)(\\+["'][^"'\\]*\\+["']|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"',;&}]+)/g;
/** What each of the forms above has in it; a text without it holds none of them, and is most texts. */
const MAY_HOLD_SECRET = /[:=]|[-_][\w-]{8}|AKIA|ASIA|AIza|eyJ|\b(?:Bearer|Basic|Token|ApiKey)\s/i;
/** From here on a run of mixed letters and digits in a path is more likely a key than a word. */
const KEY_LENGTH_MIN = 20;

/** Whether a variable, header, flag or field of this name usually carries a secret. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !PLAIN_NAME.test(name);
}

/** Hides a whole value; a value that is nothing but a `${env:NAME}` reference, and the empty one, stay. */
export function redactValue(value: string): string {
  return value === "" || REFERENCE.test(value) ? value : MASK;
}

/**
 * Of variables or headers, the values that are to be hidden wherever else they turn up: those that are secret by name,
 * and those that are long and mixed as keys are; of `Bearer KEY` the key alone as well, of a URL the password.
 */
export function secretValues(entries: Iterable<readonly [name: string, value: string]>): Set<string> {
  const found = new Set<string>();
  for (const [name, value] of entries) {
    if (REFERENCE.test(value)) continue;
    const password = value.includes("://") ? URL.parse(value)?.password : undefined;
    if (password) found.add(password);
    const last = value.slice(value.lastIndexOf(" ") + 1);
    if (!isSecretName(name) && !looksLikeKey(last)) continue;
    found.add(value);
    found.add(last);
  }
  found.delete("");
  return found;
}

/** Hides user info, secret query values, key-like path parts and the fragment of a URL; other text is treated as free text. */
export function redactUrl(text: string): string {
  const found = /^([a-z][a-z\d+.-]*:\/\/)([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/is.exec(text);
  // Without its scheme it is no address, and may be `user:password@host` all the same.
  if (found === null) return redactForms(text.replace(/^[^/?#@\s]+@/, `${MASK}@`));
  const [, scheme = "", authority = "", path = "", query, fragment] = found;
  const host = authority.includes("@")
    ? `${MASK}@${authority.slice(authority.lastIndexOf("@") + 1)}`
    : authority;
  let result = scheme + host + path.split("/").map(redactSegment).join("/");
  if (query !== undefined) result += `?${query.split("&").map(redactQueryPart).join("&")}`;
  if (fragment !== undefined) result += `#${MASK}`;
  return result;
}

/** Hides secrets in the arguments of a command: behind secret flags, in `NAME=value`, in URLs, in JSON, by form. */
export function redactArgs(args: readonly string[]): string[] {
  let hidesNext = false;
  return args.map((arg) => {
    const isFlag = arg.startsWith("-");
    if (hidesNext && !isFlag) {
      hidesNext = false;
      return redactValue(arg);
    }
    hidesNext = isFlag && !arg.includes("=") && isSecretName(arg.replace(/^-+/, ""));
    return redactText(arg);
  });
}

/**
 * Hides secrets in free text, such as an error message or a line of a child's stderr.
 *
 * @param secrets values known to be secret; each occurrence is hidden, if it has four signs or more
 */
export function redactText(text: string, secrets: Iterable<string> = []): string {
  let result = text;
  for (const secret of [...secrets].toSorted((a, b) => b.length - a.length)) {
    if (secret.length >= 4) result = result.replaceAll(secret, MASK);
  }
  if (!MAY_HOLD_SECRET.test(result)) return result;
  result = result.replace(URL_IN_TEXT, redactUrl).replace(AUTH_SCHEME, `$1$2${MASK}`);
  return redactForms(result.replace(PAIR_IN_TEXT, redactPair));
}

/**
 * Copies data with secrets hidden: whole values under secret names, the rest as free text. Cycles and
 * nesting past 100 levels become the mask.
 */
export function redactData(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth > 100) return MASK;
  if (Array.isArray(value)) return value.map((item) => redactData(item, depth + 1));
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(
    entries.map(([key, item]: [unknown, unknown]) => [
      String(key),
      isSecretName(String(key)) ? redactAll(item) : redactData(item, depth + 1),
    ]),
  );
}

/** Whatever stands under a secret name: text and numbers are hidden, switches and empty values say nothing. */
function redactAll(value: unknown): unknown {
  if (typeof value === "string") return redactValue(value);
  return value === null || value === undefined || typeof value === "boolean" ? value : MASK;
}

function redactForms(text: string): string {
  return SECRET_FORMS.reduce((result, form) => result.replace(form, MASK), text);
}

function redactSegment(segment: string): string {
  if (REFERENCE.test(segment)) return segment;
  return looksLikeKey(segment) ? MASK : redactForms(segment);
}

function looksLikeKey(text: string): boolean {
  return (
    text.length >= KEY_LENGTH_MIN && /\d/.test(text) && /[A-Za-z]/.test(text) && /^[\w.~%=-]+$/.test(text)
  );
}

function redactQueryPart(part: string): string {
  const at = part.indexOf("=");
  if (at < 0) return redactSegment(part);
  const name = part.slice(0, at);
  const value = part.slice(at + 1);
  return `${name}=${isSecretName(name) ? redactValue(value) : redactSegment(value)}`;
}

function redactPair(whole: string, quote: string, name: string, sign: string, value: string): string {
  const mark = /^\\*["']/.exec(value)?.[0] ?? "";
  const inner = mark === "" ? value : value.slice(mark.length, -mark.length);
  const around = (shown: string): string => `${quote}${name}${quote}${sign}${mark}${shown}${mark}`;
  // What is quoted may be JSON in its turn.
  if (!isSecretName(name)) return mark === "" ? whole : around(inner.replace(PAIR_IN_TEXT, redactPair));
  if (REFERENCE.test(value) || value.startsWith(MASK)) return whole;
  if (/^(?:Bearer|Basic|Token|ApiKey)$/i.test(value)) return whole;
  return around(redactValue(inner));
}
