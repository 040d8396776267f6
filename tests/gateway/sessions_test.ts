/**
 * Sessions: the open ones and the last that ended.
 */
import { expect, test } from "bun:test";
import { Sessions } from "../../src/gateway/sessions.ts";

const CLIENT = { name: "a client", version: "1" };

test("Sessions tells who is connected, counts calls, and keeps who was", () => {
  const sessions = new Sessions();
  let client: typeof CLIENT | undefined;
  sessions.open("12345678", () => client);
  expect(sessions.find("12345678")).toMatchObject({ client: undefined, calls: 0, endedAt: undefined });
  client = CLIENT;
  sessions.use("12345678", { isCall: true });
  sessions.use("12345678", { isCall: false });
  sessions.use("nobody", { isCall: true });
  expect(sessions.list()).toMatchObject([{ id: "12345678", client: CLIENT, calls: 1 }]);
  sessions.end("12345678", "the client ended it");
  sessions.end("12345678", "a second time");
  client = undefined;
  const ended = {
    client: CLIENT,
    calls: 1,
    reason: "the client ended it",
    endedAt: expect.any(Number) as number,
  };
  expect(sessions.find("12345678")).toMatchObject(ended);
  expect(sessions.list()).toHaveLength(1);
});

test("Sessions keeps a bounded number of those that ended", () => {
  const sessions = new Sessions();
  for (let at = 0; at < 1_000; at += 1) {
    sessions.open(String(at), () => undefined);
    sessions.end(String(at), "gone");
  }
  expect(sessions.list()).toHaveLength(200);
  expect(sessions.find("999")).toBeDefined();
  expect(sessions.find("0")).toBeUndefined();
});
