/** A message that a consumer was handed, and its way back to the broker. */
import type { AMQPMessage } from "@cloudamqp/amqp-client";
import type { Delivery, Message } from "../message.ts";
import { unreadableReason } from "./client_guard.ts";
import { readMessage } from "./properties.ts";

/** Where deliveries are settled, by the broker's number for them. */
export interface Settler {
  ack(deliveryTag: number): void;
  nack(deliveryTag: number, requeue: boolean): void;
}

export class AmqpDelivery implements Delivery {
  readonly message: Message;
  readonly queue: string;
  readonly redelivered: boolean;
  readonly unreadable?: string;
  readonly #tag: number;
  readonly #settler: Settler;
  #isSettled = false;

  constructor(wire: AMQPMessage, queue: string, settler: Settler) {
    this.message = readMessage(wire);
    this.queue = queue;
    this.redelivered = wire.redelivered;
    this.#tag = wire.deliveryTag;
    this.#settler = settler;
    const { headers } = wire.properties;
    const unreadable = headers === undefined ? undefined : unreadableReason(headers);
    if (unreadable !== undefined) this.unreadable = unreadable;
  }

  ack(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#settler.ack(this.#tag);
  }

  nack({ requeue }: { readonly requeue: boolean }): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#settler.nack(this.#tag, requeue);
  }
}
