/**
 * Concurrent clients: 10 and 200 agents at once, with ids that collide on purpose.
 *
 * Owns the rows about many sessions. Invariant: each answer is the asker's own; one foreign answer fails the row.
 */
import { echoing } from "./discovery.ts";
import { ECHO_TOOL } from "./fleet.ts";
import { McpClient } from "./mcp_client.ts";
import { quantile } from "./sheet.ts";
import { openStage } from "./stage.ts";
import type { Area, AreaContext, Stage } from "./stage.ts";

const CROWDS = [10, 200] as const;
const CALLS_EACH = 20;

/** The area. */
export const CLIENTS: Area = {
  name: "clients",
  needs: "mocks",
  about: "concurrent clients: 10 and 200 sessions with colliding ids",
  run: runClients,
};

async function runClients(context: AreaContext): Promise<void> {
  const { options, tell } = context;
  await using stage = await openStage(context);
  for (const count of options.isShort ? CROWDS.slice(0, 1) : CROWDS) {
    tell(`${count} clients`);
    await crowd(context, { stage, count });
  }
}

async function crowd(
  { sheet }: AreaContext,
  { stage, count }: { readonly stage: Stage; readonly count: number },
): Promise<void> {
  const names = echoing(stage);
  const times: number[] = [];
  let [own, failed] = [0, 0];
  const from = performance.now();
  await Promise.all(
    Array.from({ length: count }, async (_, client) => {
      await using session = await McpClient.open(`${stage.subject.url}/mcp`);
      for (let call = 0; call < CALLS_EACH; call += 1) {
        const value = `client ${client} call ${call}`;
        const beganAt = performance.now();
        const name = `${names[(client + call) % names.length]}:${ECHO_TOOL}`;
        const { content, isError } = await session.call("call_tool_read", { name, args: { value } });
        times.push(performance.now() - beganAt);
        if (isError === true) failed += 1;
        else if (content[0]?.text?.includes(`"${value}"`) === true) own += 1;
      }
    }),
  );
  const seconds = (performance.now() - from) / 1_000;
  const wanted = count * CALLS_EACH;
  sheet.count(`${count} clients: answers that are the asker's own`, {
    measured: own,
    wanted,
    note: `${failed} errors`,
  });
  sheet.add({ metric: `${count} clients: a call, p50`, unit: "ms", measured: quantile(times, 0.5) });
  sheet.add({ metric: `${count} clients: a call, p99`, unit: "ms", measured: quantile(times, 0.99) });
  sheet.add({
    metric: `${count} clients: calls a second`,
    unit: "1/s",
    measured: Math.round(wanted / seconds),
    note: "clients, mocks and proxy share the machine",
  });
}
