/** A front's application for tests, with a caller that ends calls as it is told. */
import type { Caller, CallInput, CallOptions } from "../../src/calls/call.ts";
import type { Ending } from "../../src/calls/outcome.ts";
import { createApp, type HttpApp, type HttpOptions } from "../../src/http/app.ts";
import type { NodeHealth } from "../../src/http/health.ts";
import type { Exchanges } from "../../src/messages/exchanges.ts";
import type { Queues } from "../../src/messages/queues.ts";
import type { KnownTask } from "../../src/nodes/announcement.ts";
import type { KnownNode } from "../../src/nodes/roster.ts";
import type { DeviceCommands, DeviceList } from "../../src/devices/devices.ts";
import type { Channels } from "../../src/pubsub/channels.ts";
import type { DeviceStore } from "../../src/store/device_store.ts";
import type { Clock } from "../../src/lifecycle/clock.ts";

export interface SeenCall {
  readonly task: string;
  readonly input: CallInput;
  readonly options: CallOptions;
  readonly signal: AbortSignal | undefined;
}

/** Keeps what it was called with; ends each call by its script, by default with the task's name. */
export class ScriptedCaller implements Caller {
  readonly seen: SeenCall[] = [];
  script: (call: SeenCall) => Ending | Promise<Ending> = ({ task }) => succeeded(task);
  #pending = 0;

  get pending(): number {
    return this.#pending;
  }

  get last(): SeenCall {
    const call = this.seen.at(-1);
    if (call === undefined) throw new Error("The caller was not called");
    return call;
  }

  async call(
    task: string,
    input: CallInput,
    options: CallOptions = {},
    signal?: AbortSignal,
  ): Promise<Ending> {
    const call = { task, input, options, signal };
    this.seen.push(call);
    this.#pending += 1;
    try {
      return await this.script(call);
    } finally {
      this.#pending -= 1;
    }
  }
}

export function succeeded(result: unknown, headers: Record<string, string> = {}): Ending {
  return { kind: "succeeded", resultJson: JSON.stringify(result), headers };
}

/** Ends as `cancelled` when the call's signal aborts, as the caller over a broker does. */
export function untilCancelled({ signal }: SeenCall): Promise<Ending> {
  return new Promise((resolve) => {
    const cancelled = () => resolve({ kind: "cancelled" });
    if (signal?.aborted) cancelled();
    else signal?.addEventListener("abort", cancelled, { once: true });
  });
}

export interface FrontSettings {
  readonly options?: Partial<HttpOptions>;
  readonly health?: Partial<NodeHealth>;
  readonly tasks?: readonly KnownTask[];
  readonly nodes?: readonly KnownNode[];
  /** Default: at once. */
  readonly settled?: Promise<void>;
  readonly clock?: Clock;
  /** Default: none is there. */
  readonly exchanges?: Exchanges;
  readonly queues?: Queues;
  /** Default: there are no such routes. */
  readonly channels?: Channels;
  readonly devices?: DeviceList;
  readonly deviceCommands?: DeviceCommands;
  readonly deviceRecords?: DeviceStore;
}

const NO_EXCHANGES: Exchanges = {
  publish: () => Promise.resolve({ kind: "unknown_exchange", message: "There is none" }),
  declare: () => Promise.resolve({ kind: "declared" }),
};
const NO_QUEUES: Queues = {
  list: () => Promise.resolve({ kind: "listed", queues: [] }),
  setPaused: () => Promise.resolve({ kind: "unknown_queue", message: "There is none" }),
  purge: () => Promise.resolve({ kind: "unknown_queue", message: "There is none" }),
};

export interface Front {
  readonly app: HttpApp;
  readonly caller: ScriptedCaller;
}

export function front(settings: FrontSettings = {}): Front {
  const caller = new ScriptedCaller();
  const { tasks = [], settled } = settings;
  let isSettled = settled === undefined;
  const whenSettled = settled?.then(() => {
    isSettled = true;
  });
  const app = createApp({
    caller,
    directory: {
      list: () => tasks,
      settled: () => whenSettled ?? Promise.resolve(),
      get isSettled() {
        return isSettled;
      },
    },
    nodes: { list: () => settings.nodes ?? [] },
    health: {
      node: "test",
      broker: () => ({ kind: "connected", since: new Date(0) }),
      ...settings.health,
    },
    exchanges: settings.exchanges ?? NO_EXCHANGES,
    queues: settings.queues ?? NO_QUEUES,
    ...(settings.channels === undefined ? {} : { channels: settings.channels }),
    ...(settings.devices === undefined ? {} : { devices: settings.devices }),
    ...(settings.deviceCommands === undefined ? {} : { deviceCommands: settings.deviceCommands }),
    ...(settings.deviceRecords === undefined ? {} : { deviceRecords: settings.deviceRecords }),
    options: {
      host: "127.0.0.1",
      maxBodyBytes: 1_000,
      exposeErrors: false,
      ...settings.options,
    },
    newId: () => "00000000-0000-7000-8000-000000000000",
    ...(settings.clock === undefined ? {} : { clock: settings.clock }),
  });
  return { app, caller };
}

/** A problem response, checked to be one; its fields are as they came. */
export async function problemOf(
  response: Response,
): Promise<Record<string, unknown> & { readonly type: string; readonly detail: string }> {
  const contentType = response.headers.get("content-type");
  if (contentType !== "application/problem+json") {
    throw new Error(`Not a problem: ${response.status} ${contentType} ${await response.text()}`);
  }
  const body = await response.json();
  if (body.status !== response.status) {
    throw new Error(`A problem with status ${body.status} came with ${response.status}`);
  }
  return body;
}

/** Posts to an application without a socket. */
export function post(
  app: HttpApp,
  path: string,
  body: string,
  headers: Record<string, string> = {},
): Response | Promise<Response> {
  return app.request(path, { method: "POST", body, headers });
}
