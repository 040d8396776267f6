/**
 * The switches of a mock host over HTTP, on a port of their own so that they work while the network is down.
 *
 * Owns the route `/control`. `GET` gives counters of all mocks, or of `?name=`, and the starts in order. `POST` takes
 * `{"op": "setFault", "name", "fault"}` (a fault, a list, or null), `{"op": "changeTools", "name", "change"}` or
 * `{"op": "network", "state"}`. Invariant: loopback only. A control tool over MCP was rejected: it would count as a call.
 */
import type { Fault, MockCounters, ToolChange } from "./server.ts";

/** What can be switched, as the host has it. */
export interface Controlled {
  readonly names: readonly string[];
  readonly setFault: (name: string, fault: Fault | readonly Fault[] | undefined) => void;
  readonly changeTools: (name: string, change: ToolChange) => void;
  readonly network: (state: "up" | "down") => void;
  readonly counters: (name: string) => MockCounters;
  readonly starts: () => readonly object[];
}

type Order =
  | { readonly op: "setFault"; readonly name: string; readonly fault: Fault | readonly Fault[] | null }
  | { readonly op: "changeTools"; readonly name: string; readonly change: ToolChange }
  | { readonly op: "network"; readonly state: "up" | "down" };

/** Listens on a free port of loopback. */
export function serveControl(host: Controlled): Bun.Server<undefined> {
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname !== "/control") return new Response(null, { status: 404 });
      try {
        if (request.method === "GET") return Response.json(report(host, searchParams.get("name")));
        if (request.method !== "POST")
          return new Response(null, { status: 405, headers: { allow: "GET, POST" } });
        carryOut(host, (await request.json()) as Order);
        return Response.json({ success: true });
      } catch (error) {
        return Response.json({ success: false, error: String(error) }, { status: 400 });
      }
    },
  });
}

function report(host: Controlled, name: string | null): object {
  if (name !== null) return host.counters(name);
  const counters = Object.fromEntries(host.names.map((each) => [each, host.counters(each)]));
  return { counters, starts: host.starts() };
}

function carryOut(host: Controlled, order: Order): void {
  switch (order.op) {
    case "setFault":
      return host.setFault(order.name, order.fault ?? undefined);
    case "changeTools":
      return host.changeTools(order.name, order.change);
    case "network":
      return host.network(order.state);
    default:
      throw new Error(`Cannot do '${String((order as { op?: unknown }).op)}': no such order`);
  }
}
