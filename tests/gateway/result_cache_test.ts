/**
 * Results over the limit: what is cut, and that every part of it can be read back.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Json, JsonObject } from "../../src/core/model.ts";
import { ResultCache } from "../../src/gateway/result_cache.ts";
import type { CachePageRequest } from "../../src/gateway/result_cache.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

function text(value: string): JsonObject {
  return { content: [{ type: "text", text: value }] };
}

function textsOf(result: JsonObject): string[] {
  return (result["content"] as unknown as { text?: string }[]).flatMap((block) => block.text ?? []);
}

function keyOf(result: JsonObject): string {
  const key = /key="([^"]+)"/.exec(textsOf(result).at(-1) ?? "")?.[1];
  if (key === undefined) throw new Error(`No key in ${JSON.stringify(result).slice(-200)}`);
  return key;
}

/** Reads all pages and joins them. */
function readAll(cache: ResultCache, request: CachePageRequest): { text: string; records: Json[] } {
  let [whole, offset]: [string, number | undefined] = ["", request.offset ?? 0];
  const records: Json[] = [];
  for (let pages = 0; offset !== undefined; pages += 1) {
    if (pages > 10_000) throw new Error("The pages have no end");
    const page: JsonObject = cache.read({ ...request, offset });
    whole += (page["text"] as string | undefined) ?? "";
    records.push(...((page["records"] as Json[] | undefined) ?? []));
    offset = page["next_offset"] as number | undefined;
  }
  return { text: whole, records };
}

test("ResultCache.limit() gives back the very same object under and at the limit, and with the limit off", () => {
  verifies("CALL-RESULT-UNCHANGED");
  const cache = new ResultCache({ limitChars: () => 10 });
  const results: JsonObject[] = [
    text("x".repeat(10)),
    { content: [] },
    {},
    { content: [{ type: "image", data: "A".repeat(1_000), mimeType: "image/png" }], _meta: { a: 1 }, x: 1 },
    {
      content: [
        { type: "text", text: "12345" },
        { type: "text", text: "12345" },
      ],
      structuredContent: { a: 1 },
    },
  ];
  for (const result of results) expect(cache.limit(result)).toBe(result);
  const long = text("x".repeat(100));
  expect(new ResultCache({ limitChars: () => 0 }).limit(long)).toBe(long);
});

test("ResultCache.limit() cuts what is longer and names the key under which all of it can be read", () => {
  verifies("CACHE-READ-WHOLE");
  const cache = new ResultCache({ limitChars: () => 10 });
  const cut = cache.limit({ ...text("0123456789abcdef"), isError: true, _meta: { kept: 1 }, x: 2 });
  expect(cut).toMatchObject({ isError: true, _meta: { kept: 1 }, x: 2 });
  expect(textsOf(cut)[0]).toBe("0123456789");
  expect(textsOf(cut)[1]).toBe(`… cut at 10 of 16 characters; read on with read_cache key="${keyOf(cut)}"`);
  expect(cache.read({ key: keyOf(cut) })).toEqual({
    key: keyOf(cut),
    offset: 0,
    total: 16,
    text: "0123456789",
    next_offset: 10,
  });
  expect(readAll(cache, { key: keyOf(cut) }).text).toBe("0123456789abcdef");
});

test("ResultCache.limit() shares the limit among blocks, keeps images, and cuts resources too", () => {
  verifies("CACHE-READ-WHOLE");
  const cache = new ResultCache({ limitChars: () => 10 });
  const image = { type: "image", data: "A".repeat(50), mimeType: "image/png" };
  const content = [
    { type: "text", text: "12345" },
    image,
    { type: "resource", resource: { uri: "a:b", text: "67890abc" } },
    { type: "text", text: "gone" },
  ];
  const cut = cache.limit({ content });
  expect(cut["content"]).toEqual([
    { type: "text", text: "12345" },
    image,
    { type: "resource", resource: { uri: "a:b", text: "67890" } },
    { type: "text", text: expect.stringContaining(keyOf(cut)) as unknown as string },
  ]);
  expect(readAll(cache, { key: keyOf(cut) }).text).toBe("12345\n67890abc\ngone");
});

test("ResultCache.limit() keeps structuredContent that fits, and leaves none of it unreadable when it does not", () => {
  verifies("CACHE-READ-WHOLE");
  const cache = new ResultCache({ limitChars: () => 40 });
  const small = { a: 1 };
  const large = { rows: Array.from({ length: 30 }, (_, at) => ({ at })) };
  const prose = "p".repeat(100);

  const first = cache.limit({ ...text(prose), structuredContent: small });
  expect(first["structuredContent"]).toEqual(small);
  expect(readAll(cache, { key: keyOf(first) }).text).toBe(prose);

  const second = cache.limit({ ...text("short"), structuredContent: large });
  expect(second["structuredContent"]).toBeUndefined();
  expect(textsOf(second)[0]).toBe("short");
  expect(readAll(cache, { key: keyOf(second) }).records).toEqual(large.rows);

  const third = cache.limit({ ...text(JSON.stringify(large)), structuredContent: large });
  expect(readAll(cache, { key: keyOf(third) }).records).toEqual(large.rows);

  const fourth = cache.limit({ ...text(prose), structuredContent: large });
  expect(readAll(cache, { key: keyOf(fourth) }).text).toBe(`${prose}\n${JSON.stringify(large)}`);

  const fifth = cache.limit({ content: [], structuredContent: large });
  expect(textsOf(fifth)[0]).toBe(JSON.stringify(large).slice(0, 40));
  expect(readAll(cache, { key: keyOf(fifth) }).records).toEqual(large.rows);
});

test("ResultCache.limit() does not fall over content that is none", () => {
  const cache = new ResultCache({ limitChars: () => 5 });
  for (const content of [
    null,
    7,
    "text",
    {},
    [null, 7, "x", [], { text: 3 }, { resource: null }, { resource: "x" }],
  ]) {
    const result = { content } as unknown as JsonObject;
    expect(cache.limit(result)).toBe(result);
  }
  const odd = { content: [null, { type: "text", text: "0123456789" }] } as unknown as JsonObject;
  expect((cache.limit(odd)["content"] as unknown[]).slice(0, 2)).toEqual([
    null,
    { type: "text", text: "01234" },
  ]);
});

test("ResultCache never tears a surrogate pair, neither at the cut nor at the borders of pages", () => {
  verifies("CACHE-READ-WHOLE");
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("a", "ü", "\u{1f600}", "\u{10ffff}", "\n"), { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }),
      (signs, limitChars, limit) => {
        const whole = signs.join("");
        const cache = new ResultCache({ limitChars: () => limitChars });
        const cut = cache.limit(text(whole));
        for (const shown of textsOf(cut)) expect(shown).not.toMatch(LONE_SURROGATE);
        if (whole.length <= limitChars) return;
        const key = keyOf(cut);
        for (let offset: number | undefined = 0; offset !== undefined;) {
          const page: JsonObject = cache.read({ key, offset, limit });
          expect(page["text"]).not.toMatch(LONE_SURROGATE);
          offset = page["next_offset"] as number | undefined;
        }
        expect(readAll(cache, { key, limit }).text).toBe(whole);
      },
    ),
  );
});

test("ResultCache.read() gives records in pages that fit the limit, at least one each", () => {
  verifies("CACHE-READ-WHOLE");
  const cache = new ResultCache({ limitChars: () => 50 });
  const records = Array.from({ length: 130 }, (_, id) => ({ id, name: `n${id}` }));
  const cut = cache.limit(text(JSON.stringify({ total: 130, data: { items: records, other: [1] } })));
  expect(textsOf(cut).at(-1)).toContain("130 records at data.items");
  const key = keyOf(cut);
  const first = cache.read({ key });
  expect(first).toMatchObject({ key, path: "data.items", offset: 0, total: 130 });
  expect(JSON.stringify(first["records"]).length).toBeLessThan(60);
  expect(readAll(cache, { key }).records).toEqual(records);
  expect(cache.read({ key, limit: 1, offset: 129 })).toEqual({
    key,
    path: "data.items",
    offset: 129,
    total: 130,
    records: [{ id: 129, name: "n129" }],
  });
  expect(cache.read({ key, offset: 500 })["records"]).toEqual([]);
  expect(cache.read({ key, path: "data.other" })["records"]).toEqual([1]);
});

test("ResultCache.read() reads whatever stands at a path, in pages: lists, texts, objects, keys with dots, items by number", () => {
  verifies("CACHE-READ-WHOLE");
  const cache = new ResultCache({ limitChars: () => 30 });
  const long = "l".repeat(100);
  const value = {
    items: [{ body: long }, 2, 3],
    note: long,
    "a.b": { "c.d": [1, 2] },
    n: 5,
    __proto__x: [9],
  };
  const key = keyOf(cache.limit(text(JSON.stringify(value))));
  expect(cache.read({ key })["total"]).toBe(3);
  expect(readAll(cache, { key, path: "items.0.body" }).text).toBe(long);
  expect(readAll(cache, { key, path: "note" }).text).toBe(long);
  expect(readAll(cache, { key, path: "items.0" }).text).toBe(JSON.stringify({ body: long }));
  expect(readAll(cache, { key, path: "a.b.c.d" }).records).toEqual([1, 2]);
  expect(readAll(cache, { key, path: "n" }).text).toBe("5");
  expect(readAll(cache, { key, path: "$" }).text).toBe(JSON.stringify(value));
  expect(JSON.stringify(cache.read({ key })["records"])).toContain("read it whole with path");
});

test("ResultCache.read() refuses a path that leads nowhere, with a hint", async () => {
  const cache = new ResultCache({ limitChars: () => 10 });
  const json = keyOf(cache.limit(text(JSON.stringify({ items: [1, 2, 3, 4, 5] }))));
  const plain = keyOf(cache.limit(text("just some plain text")));
  for (const [key, path] of [
    [json, "absent"],
    [json, "items.99"],
    [json, "__proto__"],
    [json, "items.length"],
    [json, "constructor.name"],
    [plain, "a"],
  ] as const) {
    const failure = await failureOf(() => cache.read({ key, path }));
    expect(failure["code"]).toBe("ARGUMENTS_INVALID");
    expect(failure["hint"]).toContain("Leave 'path' out");
  }
});

test("ResultCache.read() searches records and lines, case aside", () => {
  const cache = new ResultCache({ limitChars: () => 25 });
  const json = keyOf(cache.limit(text(JSON.stringify([{ a: "Ärger" }, { a: "other" }, "älteste"]))));
  expect(cache.read({ key: json, search: "Ä" })).toMatchObject({
    total: 2,
    records: [{ a: "Ärger" }, "älteste"],
  });
  expect(cache.read({ key: json, search: "nowhere" })).toMatchObject({ total: 0, records: [] });
  const lines = keyOf(cache.limit(text("one ERROR\ntwo two two two\nthree error\n")));
  expect(cache.read({ key: lines, search: "error" })).toMatchObject({
    path: "lines",
    total: 2,
    records: ["one ERROR", "three error"],
  });
});

test("ResultCache.read() refuses an unknown key, and one that is two hours old", async () => {
  let now = 1_000;
  const cache = new ResultCache({ limitChars: () => 5, now: () => now });
  const key = keyOf(cache.limit(text("0123456789")));
  now += 2 * 60 * 60 * 1_000;
  expect(cache.read({ key })["total"]).toBe(10);
  now += 1;
  for (const asked of [key, key, "nonsense", "__proto__", ""]) {
    const failure = await failureOf(() => cache.read({ key: asked }));
    expect(failure["code"]).toBe("CACHE_UNKNOWN");
    expect(failure["hint"]).toContain("call the tool again");
  }
});

test("ResultCache keeps a thousand results and drops the one that was read longest ago", async () => {
  const cache = new ResultCache({ limitChars: () => 5 });
  const keys = Array.from({ length: 1_000 }, (_, at) => keyOf(cache.limit(text(`result ${at}`))));
  const [oldest = "", second = ""] = keys;
  cache.read({ key: oldest });
  keys.push(keyOf(cache.limit(text("one more"))));
  expect(new Set(keys).size).toBe(1_001);
  expect((await failureOf(() => cache.read({ key: second })))["code"]).toBe("CACHE_UNKNOWN");
  expect(cache.read({ key: oldest })["total"]).toBe(8);
});

test("ResultCache keeps at most 64 Mi characters, the newest result in any case", async () => {
  const cache = new ResultCache({ limitChars: () => 5 });
  const half = "x".repeat(40 * 1024 * 1024);
  const first = keyOf(cache.limit(text(half)));
  const second = keyOf(cache.limit(text(half)));
  expect((await failureOf(() => cache.read({ key: first })))["code"]).toBe("CACHE_UNKNOWN");
  expect(cache.read({ key: second })["total"]).toBe(half.length);
  const huge = keyOf(cache.limit(text(half + half)));
  expect(cache.read({ key: huge })["total"]).toBe(2 * half.length);
  expect((await failureOf(() => cache.read({ key: second })))["code"]).toBe("CACHE_UNKNOWN");
});

test("ResultCache keeps equal results under keys of their own", () => {
  const cache = new ResultCache({ limitChars: () => 5 });
  const keys = [1, 2, 3].map(() => keyOf(cache.limit(text("the same text"))));
  expect(new Set(keys).size).toBe(3);
});
