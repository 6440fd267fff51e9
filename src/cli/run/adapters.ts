/**
 * Which broker and which store a node has: the only file that names adapters. Each is loaded only
 * where it is used, which keeps the start short.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import type { AmqpBrokerConfig, BrokerConfig, StoreConfig } from "../../config/config.ts";
import type { Store } from "../../store/store.ts";
import type { ThreadEntries } from "../composition.ts";
import type { Node } from "../node.ts";

const log = getLogger(["coxswain", "node"]);

/** Said while the broker is waited for, so that nobody wonders. */
const WAITING_AFTER_MS = 1_000;

export async function openBroker(
  node: Node,
  config: BrokerConfig,
  id: string,
  signal?: AbortSignal,
): Promise<Broker> {
  const broker = config.kind === "embedded"
    ? await embeddedBroker(config.dataDir)
    : await amqpBroker(config, id);
  node.add({ start: (abort) => broker.start(abort), stop: () => broker.stop() });
  broker.watch((state) => {
    if (state.kind === "away") log.warn("The broker is away: {reason}", { reason: state.reason });
    if (state.kind !== "connected") return;
    if (state.blocked === undefined) log.info("The broker is connected");
    else log.warn("The broker takes no messages: {reason}", { reason: state.blocked });
  });
  if (config.kind === "embedded") {
    await broker.start(signal);
    return broker;
  }
  const waiting = setTimeout(
    () => log.info("Waiting for RabbitMQ, up to {ms} ms", { ms: config.connectTimeoutMs }),
    WAITING_AFTER_MS,
  );
  const patience = AbortSignal.timeout(config.connectTimeoutMs);
  try {
    await broker.start(signal === undefined ? patience : AbortSignal.any([patience, signal]));
  } finally {
    clearTimeout(waiting);
  }
  return broker;
}

async function embeddedBroker(dataDir: string): Promise<Broker> {
  const { openEmbeddedBroker } = await import("../../broker/embedded/embedded_broker.ts");
  return openEmbeddedBroker({ dataDir });
}

async function amqpBroker(
  { url, tls, plainQueues }: AmqpBrokerConfig,
  name: string,
): Promise<Broker> {
  const { createAmqpBroker } = await import("../../broker/amqp/amqp_broker.ts");
  return createAmqpBroker({ url, name, plainQueues, ...(tls === undefined ? {} : { tls }) });
}

export async function makeStore(config: StoreConfig, { store }: ThreadEntries): Promise<Store> {
  switch (config.kind) {
    case "sqlite": {
      const { createThreadedStore } = await import("../../store/sqlite/threaded_store.ts");
      return createThreadedStore({ entryUrl: store, dataDir: config.dataDir });
    }
    case "postgres": {
      const { PostgresStore } = await import("../../store/postgres/postgres_store.ts");
      return new PostgresStore({ url: config.url });
    }
  }
}
