/** Listens to Celery's remote control: revocations for the executor, pauses and resumes of queues. */
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { CONTROL_EXCHANGE } from "../broker/topology.ts";
import {
  decodeQueueCommand,
  decodeRevocation,
  type QueueCommand,
} from "../calls/wire/control_message.ts";

export interface ControlListenerOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly revoke: (id: string, terminate: boolean) => void;
  readonly steer: (command: QueueCommand) => void;
  /** It listens again after a while of deafness: what was said meanwhile was missed. */
  readonly onBack: () => void;
}

export class ControlListener {
  readonly #options: ControlListenerOptions;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: ControlListenerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { broker, node } = this.#options;
    await broker.declareExchange(CONTROL_EXCHANGE);
    this.#queue = await broker.openPrivateQueue({
      prefix: `${node}.celery.pidbox.`,
      bindings: [{ exchange: CONTROL_EXCHANGE.name }],
    });
    this.#loop = this.#listen(this.#queue);
    this.#queue.watch((name) => {
      if (name !== undefined) this.#options.onBack();
    });
  }

  async stop(): Promise<void> {
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    const { node, revoke, steer } = this.#options;
    for await (const delivery of queue) {
      const command = decodeQueueCommand(delivery, node);
      if (command !== undefined) steer(command);
      const revocation = decodeRevocation(delivery, node);
      for (const id of revocation?.ids ?? []) revoke(id, revocation?.terminate ?? false);
    }
  }
}
