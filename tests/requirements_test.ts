/**
 * The gate over the manifest: every promise has a test that says it holds it.
 *
 * Owns finding the calls of `verifies` in the test sources by their syntax trees, so that a comment or a
 * skipped test holds nothing.
 */
import { expect, test } from "bun:test";
import { parseSync, Visitor } from "oxc-parser";
import { REQUIREMENTS, verifies } from "./requirements.ts";
import type { RequirementId } from "./requirements.ts";

interface Claim {
  readonly id: string;
  /** Path and 1-based line. */
  readonly at: string;
}

const OFF = /^(?:test|it|describe)(?:\.\w+)*\.(?:skip|todo)\b/;

/** Finds what a test file claims to verify; calls inside a skipped test do not count. */
function findClaims(path: string, text: string): readonly Claim[] {
  const claims: Claim[] = [];
  let offDepth = 0;
  const { program } = parseSync(path, text);
  const isOff = (callee: { start: number; end: number }): boolean =>
    OFF.test(text.slice(callee.start, callee.end));
  new Visitor({
    CallExpression(node) {
      if (isOff(node.callee)) offDepth += 1;
      if (offDepth > 0 || node.callee.type !== "Identifier" || node.callee.name !== "verifies") return;
      const at = `${path}:${text.slice(0, node.start).split("\n").length}`;
      for (const argument of node.arguments) {
        const isId = argument.type === "Literal" && typeof argument.value === "string";
        claims.push({ id: isId ? argument.value : text.slice(argument.start, argument.end), at });
      }
    },
    "CallExpression:exit"(node) {
      if (isOff(node.callee)) offDepth -= 1;
    },
  }).visit(program);
  return claims;
}

async function claimsOfAllTests(): Promise<readonly Claim[]> {
  const claims: Claim[] = [];
  for await (const path of new Bun.Glob("**/*_test.ts").scan({ cwd: import.meta.dir })) {
    if (path === "requirements_test.ts") continue;
    claims.push(...findClaims(`tests/${path}`, await Bun.file(`${import.meta.dir}/${path}`).text()));
  }
  return claims;
}

test("every requirement is verified by a test", async () => {
  const verified = new Set((await claimsOfAllTests()).map(({ id }) => id));
  expect(Object.keys(REQUIREMENTS).filter((id) => !verified.has(id))).toEqual([]);
});

test("no test verifies an unknown requirement", async () => {
  const unknown = (await claimsOfAllTests()).filter(({ id }) => !Object.hasOwn(REQUIREMENTS, id));
  expect(unknown).toEqual([]);
});

test.each(Object.entries(REQUIREMENTS))(
  "REQUIREMENTS[%p] is one sentence with a source",
  (id, requirement) => {
    expect(id).toMatch(/^[A-Z0-9]+(?:-[A-Z0-9]+)+$/);
    expect(requirement.promise).toMatch(/^\S[^\n]{20,130}[^.!?\s]$/);
    expect(requirement.source).toMatch(/^(?:SPEC §\d+|PROMISES \S.*|NUMBERS \S.*|HOUSE §\d+)$/);
  },
);

test("findClaims() finds calls in running tests only, and names their line", () => {
  const text = [
    'test("runs", () => { verifies("A-B", "C-D"); });',
    'test.if(true)("runs", () => { verifies("E-F"); });',
    'test.skip("rests", () => { verifies("G-H"); });',
    'describe.skip("rests", () => { test("too", () => { verifies("I-J"); }); });',
    'test.todo("later", () => { verifies("K-L"); });',
    '// verifies("M-N")',
    "const text = 'verifies(\"O-P\")';",
    'test("computed", () => { verifies(id); });',
  ].join("\n");
  expect(findClaims("a_test.ts", text)).toEqual([
    { id: "A-B", at: "a_test.ts:1" },
    { id: "C-D", at: "a_test.ts:1" },
    { id: "E-F", at: "a_test.ts:2" },
    { id: "id", at: "a_test.ts:8" },
  ]);
});

test("verifies() accepts the ids of the manifest and throws on any other", () => {
  expect(() => verifies("KEY-0600", "API-SHAPE")).not.toThrow();
  const unknown = "NOT-THERE";
  expect(() => verifies(unknown as RequirementId)).toThrow("Cannot verify 'NOT-THERE': no such requirement");
});
