/** Listens to Celery's remote control on behalf of the executor: revocations, here. */
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { CONTROL_EXCHANGE } from "../broker/topology.ts";
import { decodeRevocation } from "../calls/wire/control_message.ts";

export interface ControlListenerOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly revoke: (id: string, terminate: boolean) => void;
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
  }

  async stop(): Promise<void> {
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    const { node, revoke } = this.#options;
    for await (const delivery of queue) {
      const revocation = decodeRevocation(delivery, node);
      for (const id of revocation?.ids ?? []) revoke(id, revocation?.terminate ?? false);
    }
  }
}
