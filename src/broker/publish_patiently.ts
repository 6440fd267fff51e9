/** Publishing for those who cannot drop what they have: again once the broker is back. */
import { systemClock } from "../lifecycle/clock.ts";
import type { Broker, PublishOptions, PublishResult } from "./broker.ts";
import { BrokerAwayError } from "./errors.ts";
import type { Message } from "./message.ts";

/** Pause where the broker says that it is there and yet does not take the message. */
const PAUSE_MS = 100;

/**
 * Publishes, and tries again while the broker is away.
 * @param message a function makes the message anew for each try.
 * @param patienceMs how long it may be away, in milliseconds.
 * @throws BrokerAwayError when patience is over, PublishRefusedError at once.
 */
export async function publishPatiently(
  broker: Broker,
  message: Message | (() => Message),
  options: PublishOptions,
  patienceMs: number,
): Promise<PublishResult> {
  const deadline = systemClock.monotonic() + patienceMs;
  while (true) {
    try {
      return await broker.publish(typeof message === "function" ? message() : message, options);
    } catch (error) {
      const leftMs = deadline - systemClock.monotonic();
      if (!(error instanceof BrokerAwayError) || leftMs <= 0 || broker.state.kind === "stopped") {
        throw error;
      }
      await stateChange(broker, Math.min(leftMs, PAUSE_MS));
    }
  }
}

function stateChange(broker: Broker, atMostMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      unwatch();
      timer.cancel();
      resolve();
    };
    const unwatch = broker.watch(done);
    const timer = systemClock.after(atMostMs, done);
  });
}
