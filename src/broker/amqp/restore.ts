/** Declares again what was declared before, as far as the broker lets it. */
import { getLogger } from "@logtape/logtape";
import { BrokerAwayError } from "../errors.ts";
import type { Control } from "./control.ts";
import { bind, declareExchange, declareQueue, isMismatch } from "./declare.ts";
import { reasonOf } from "./failure.ts";
import type { Declarations } from "./topology_memory.ts";

const log = getLogger(["coxswain", "broker"]);

/**
 * A single refusal is logged and passed over: somebody has made it otherwise meanwhile, and the rest
 * is needed all the same.
 * @throws BrokerAwayError when the connection is lost.
 */
export async function restore(control: Control, declarations: Declarations): Promise<void> {
  const { exchanges, queues, bindings } = declarations;
  if (exchanges.length + queues.length + bindings.length === 0) return;
  try {
    await control.run((channel) =>
      // All on the way at once; the broker works them off in this order.
      Promise.all([
        ...exchanges.map((spec) => declareExchange(channel, spec)),
        ...queues.map((spec) => declareQueue(channel, spec)),
        ...bindings.map((spec) => bind(channel, spec)),
      ])
    );
  } catch (error) {
    if (error instanceof BrokerAwayError) throw error;
    // One refusal closes the channel under all of them: which one it was shows one by one.
    await restoreOneByOne(control, declarations);
  }
}

async function restoreOneByOne(
  control: Control,
  { exchanges, queues, bindings }: Declarations,
): Promise<void> {
  for (const spec of exchanges) {
    await pass(`exchange ${spec.name}`, control.run((channel) => declareExchange(channel, spec)));
  }
  for (const spec of queues) {
    const declared = control.run((channel) => declareQueue(channel, spec));
    // What differs was told when it was declared first.
    await pass(`queue ${spec.name}`, declared, isMismatch);
  }
  for (const spec of bindings) {
    const subject = `binding of ${spec.queue} to ${spec.exchange}`;
    await pass(subject, control.run((channel) => bind(channel, spec)));
  }
}

async function pass(
  subject: string,
  declared: Promise<unknown>,
  isFine: (error: unknown) => boolean = () => false,
): Promise<void> {
  try {
    await declared;
  } catch (error) {
    if (error instanceof BrokerAwayError) throw error;
    if (isFine(error)) return;
    log.warn("Cannot declare {subject} again: {reason}", { subject, reason: reasonOf(error) });
  }
}
