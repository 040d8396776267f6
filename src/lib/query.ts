/**
 * Values as the query of an address.
 *
 * Owns leaving out what is not given. Invariant: what is given is escaped, whatever it holds. Putting addresses together
 * where they are asked for was rejected: one of the places would forget a blank or an ampersand.
 */

/** Writes `?a=1&b=2`; nothing when no value is given, and an empty one is none. */
export function queryText(values: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const given = Object.entries(values).flatMap(([name, value]): [string, string][] =>
    value === undefined || value === "" || value === false ? [] : [[name, String(value)]],
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
}
