/** Deliveries on their way from the socket to a `for await` loop. Its producer bounds it by prefetch. */
import type { Delivery } from "../message.ts";

type Step = IteratorResult<Delivery, undefined>;

const END: Step = { done: true, value: undefined };

export class DeliveryQueue {
  #ready: Delivery[] = [];
  /** How many of `#ready` have been taken: shifting would move all the rest. */
  #taken = 0;
  #waiting: ((step: Step) => void)[] = [];
  #isEnded = false;

  /** Hands over or keeps; after the end it does nothing. */
  push(delivery: Delivery): void {
    if (this.#isEnded) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#ready.push(delivery);
    else waiting({ done: false, value: delivery });
  }

  next(): Promise<Step> {
    const delivery = this.#ready[this.#taken];
    if (delivery !== undefined) {
      this.#taken++;
      if (this.#taken === this.#ready.length) {
        this.#ready = [];
        this.#taken = 0;
      }
      return Promise.resolve({ done: false, value: delivery });
    }
    if (this.#isEnded) return Promise.resolve(END);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Takes out what the loop has not seen. */
  takeUnseen(): Delivery[] {
    const unseen = this.#ready.slice(this.#taken);
    this.#ready = [];
    this.#taken = 0;
    return unseen;
  }

  /** Ends the loop once it has seen what is in here. Idempotent. */
  end(): void {
    this.#isEnded = true;
    for (const waiting of this.#waiting.splice(0)) waiting(END);
  }
}
