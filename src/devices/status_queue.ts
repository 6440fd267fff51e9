/** Where statuses of devices wait for a recorder: declared by whoever tells them, and by recorders. */
import type { Broker } from "../broker/broker.ts";
import {
  DEVICE_STATUS_BINDINGS,
  DEVICE_STATUS_EXCHANGE,
  DEVICE_STATUS_QUEUE,
} from "../broker/topology.ts";

/** Declares the exchange, the recorders' queue and what it hears. Idempotent. */
export async function declareStatusQueue(broker: Broker): Promise<void> {
  await broker.declareExchange(DEVICE_STATUS_EXCHANGE);
  await broker.declareQueue(DEVICE_STATUS_QUEUE);
  for (const binding of DEVICE_STATUS_BINDINGS) await broker.bind(binding);
}
