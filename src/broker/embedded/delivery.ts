/** One message in the hands of one consumer, until it is settled or taken back. */
import type { Delivery, Message } from "../message.ts";
import type { Entry } from "./entry.ts";

/** Who gave the delivery out and wants to know how it ends. */
export interface Holder {
  acked(delivery: EmbeddedDelivery): void;
  nacked(delivery: EmbeddedDelivery, requeue: boolean): void;
}

export class EmbeddedDelivery implements Delivery {
  readonly message: Message;
  readonly queue: string;
  readonly redelivered: boolean;
  readonly entry: Entry;
  /** Undefined once it is settled, or was never to be. */
  #holder: Holder | undefined;

  constructor(message: Message, entry: Entry, holder: Holder | undefined) {
    this.message = message;
    this.queue = entry.home.name;
    this.redelivered = entry.isRedelivered;
    this.entry = entry;
    this.#holder = holder;
  }

  ack(): void {
    const holder = this.#holder;
    if (holder === undefined) return;
    this.#holder = undefined;
    holder.acked(this);
  }

  nack({ requeue }: { readonly requeue: boolean }): void {
    const holder = this.#holder;
    if (holder === undefined) return;
    this.#holder = undefined;
    holder.nacked(this, requeue);
  }

  /** From now on settling it does nothing. */
  void(): void {
    this.#holder = undefined;
  }
}

/** A delivery whose content the disk did not give. */
export class UnreadableDelivery extends EmbeddedDelivery {
  readonly unreadable: string;

  constructor(message: Message, entry: Entry, holder: Holder | undefined, unreadable: string) {
    super(message, entry, holder);
    this.unreadable = unreadable;
  }
}
