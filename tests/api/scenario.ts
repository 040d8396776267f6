/**
 * Scenarios of the admin API: a request, its status, what the answer must and must not contain.
 */
import { expect, test } from "bun:test";
import { API_KEY } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

/** One request and what is expected of the answer. */
export interface Scenario {
  readonly name: string;
  /** As in `GET /status`, below `/api/v1`; what begins with `/api/` is taken as it is. */
  readonly ask: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** @default 200 */
  readonly status?: number;
  /** What the envelope has at least. */
  readonly like?: Record<string, unknown>;
  readonly contains?: readonly (string | RegExp)[];
  readonly lacks?: readonly (string | RegExp)[];
}

/** An answer of the API. */
export interface ApiReply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

/** Asks the API of a gateway with the key. */
export async function askApi(
  gateway: Gateway,
  scenario: Pick<Scenario, "ask" | "body" | "headers">,
): Promise<ApiReply> {
  const [method = "GET", path = ""] = scenario.ask.split(" ");
  const { body } = scenario;
  const response = await gateway.app().request(path.startsWith("/api/") ? path : `/api/v1${path}`, {
    method,
    headers: {
      host: "localhost",
      "x-api-key": API_KEY,
      "content-type": "application/json",
      ...scenario.headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: JSON.parse(text) as Record<string, unknown>,
  };
}

/** Makes a test of each scenario. */
export function testScenarios(gateway: () => Gateway, scenarios: readonly Scenario[]): void {
  test.each(scenarios.map((scenario) => [scenario.ask, scenario.name, scenario] as const))(
    "%s: %s",
    async (_, __, scenario) => {
      verifies("API-SHAPE");
      const { status, headers, text, json } = await askApi(gateway(), scenario);
      expect({ status, text }).toMatchObject({ status: scenario.status ?? 200 });
      expect(headers.get("content-type")).toContain("application/json");
      expect(headers.get("x-request-id")?.length).toBeGreaterThan(0);
      if (status < 400) {
        expect(json["success"]).toBe(true);
        expect(json["data"]).toBeDefined();
      } else {
        // Bun puts the matchers into what it was given, and `like` would meet them there.
        expect(JSON.parse(text)).toMatchObject({
          success: false,
          error: expect.any(String) as string,
          code: expect.stringMatching(/^[A-Z_]+$/) as string,
        });
        expect(json["request_id"]).toBe(headers.get("x-request-id"));
        expect(json).not.toHaveProperty("data");
        expect(text).not.toMatch(/node_modules|\.ts:\d/);
      }
      if (scenario.like) expect(json).toMatchObject(scenario.like);
      for (const part of scenario.contains ?? []) expect(text).toMatch(part);
      for (const part of scenario.lacks ?? []) expect(text).not.toMatch(part);
    },
  );
}
