/**
 * The event for whoever logs in: one for each failure that only a person can mend.
 */
import { expect, test } from "bun:test";
import { serveHttp } from "../fixtures/http_server.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openGateway, settle } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

test("a server that wants a login is told by one oauth_required beside its move, each time it fails so", async () => {
  verifies("EVENT-LOGIN");
  await using guarded = serveHttp({ kind: "status", status: 401 });
  await using broken = serveHttp({ kind: "status", status: 500 });
  await using gateway = await openGateway([
    makeServer({ name: "guarded", url: guarded.url }),
    makeServer({ name: "broken", url: broken.url }),
  ]);
  const told = () => gateway.events.filter(({ type }) => type === "oauth_required");
  await settle(gateway);
  expect(told()).toMatchObject([
    { server: "guarded", data: { reason: expect.stringContaining("401") as string } },
  ]);
  const move = gateway.events.find(
    ({ type, server, data }) =>
      type === "server_state_changed" &&
      server === "guarded" &&
      "after" in data &&
      JSON.stringify(data).includes("401"),
  );
  expect(told()[0]?.data).toMatchObject({
    cause: move?.id,
    hint: expect.stringContaining("Authorization") as string,
  });
  gateway.upstreams.find("guarded")?.restart("asked for");
  await waitFor("it failed once more", () => told().length === 2);
  // What another mode does to it is no new failure.
  gateway.upstreams.find("guarded")?.assume("disabled", "asked for");
  expect(told()).toHaveLength(2);
});
