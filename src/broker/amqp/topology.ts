/**
 * Exchanges, queues and bindings as the port speaks of them: declared on the present control channel,
 * remembered, and declared again when they may be gone.
 */
import type { AMQPChannel } from "@cloudamqp/amqp-client";
import type { BindingSpec, ExchangeSpec, QueueSpec, QueueStatus } from "../broker.ts";
import { type Control, declarationError } from "./control.ts";
import * as declare from "./declare.ts";
import { reasonOf } from "./failure.ts";
import { restore } from "./restore.ts";
import { TopologyMemory } from "./topology_memory.ts";

/** A private queue keeps its own bindings, for its name changes. */
export interface BindingOwner {
  addBinding(binding: Omit<BindingSpec, "queue">): void;
  removeBinding(binding: Omit<BindingSpec, "queue">): void;
}

export interface TopologyOptions {
  /** The present control channel. @throws BrokerAwayError when there is none. */
  readonly control: () => Control;
  /** The private queue that has this name now. */
  readonly ownerOf: (queue: string) => BindingOwner | undefined;
}

export class Topology {
  readonly #options: TopologyOptions;
  readonly #memory = new TopologyMemory();

  constructor(options: TopologyOptions) {
    this.#options = options;
  }

  /** Declares all of it on a new connection. */
  restoreAll(control: Control): Promise<void> {
    return restore(control, this.#memory.all());
  }

  /** Declares a queue again, with its bindings, if it was declared here. */
  async restoreQueue(name: string): Promise<void> {
    const declarations = this.#memory.ofQueue(name);
    if (declarations !== undefined) await restore(this.#options.control(), declarations);
  }

  /** Declares an exchange again, with its bindings, if it was declared here. */
  async restoreExchange(name: string): Promise<void> {
    const declarations = this.#memory.ofExchange(name);
    if (declarations !== undefined) await restore(this.#options.control(), declarations);
  }

  async declareExchange(spec: ExchangeSpec): Promise<void> {
    declare.checkName("exchange", spec.name);
    await this.#ask(`declare exchange "${spec.name}"`, (channel) => {
      return declare.declareExchange(channel, spec);
    });
    this.#memory.addExchange(spec);
  }

  async declareQueue(spec: QueueSpec): Promise<QueueStatus> {
    declare.checkQueueSpec(spec);
    const action = `declare queue "${spec.name}"`;
    const control = this.#options.control();
    const status = await control.run((channel) => declare.declareQueue(channel, spec)).catch(
      async (refusal: unknown) => {
        if (!declare.isMismatch(refusal)) throw declarationError(action, refusal);
        // There is one with other arguments, or what was asked for makes no sense.
        const found = await this.inspectQueue(spec.name);
        if (found === undefined) throw declarationError(action, refusal);
        return { ...found, mismatch: declare.mismatchText(spec.name, reasonOf(refusal)) };
      },
    );
    this.#memory.addQueue(spec);
    return status;
  }

  async bind(spec: BindingSpec): Promise<void> {
    const { queue, exchange } = spec;
    await this.#ask(`bind queue "${queue}" to exchange "${exchange}"`, (channel) => {
      return declare.bind(channel, spec);
    });
    const owner = this.#options.ownerOf(queue);
    if (owner === undefined) this.#memory.addBinding(spec);
    else owner.addBinding(spec);
  }

  async unbind(spec: BindingSpec): Promise<void> {
    const { queue, exchange } = spec;
    await this.#unlessMissing(`unbind queue "${queue}" from exchange "${exchange}"`, (channel) => {
      return declare.unbind(channel, spec);
    });
    this.#memory.removeBinding(spec);
    this.#options.ownerOf(queue)?.removeBinding(spec);
  }

  async deleteQueue(name: string): Promise<void> {
    declare.checkName("queue", name);
    // First: a consumer that is told so at once must not declare it again.
    this.#memory.removeQueue(name);
    await this.#unlessMissing(`delete queue "${name}"`, (channel) => channel.queueDelete(name));
  }

  async purgeQueue(name: string): Promise<number> {
    declare.checkName("queue", name);
    const { messageCount } = await this.#ask(`purge queue "${name}"`, (channel) => {
      return channel.queuePurge(name);
    });
    return messageCount;
  }

  async inspectQueue(name: string): Promise<QueueStatus | undefined> {
    declare.checkName("queue", name);
    return await this.#unlessMissing(`look at queue "${name}"`, (channel) => {
      return declare.lookAtQueue(channel, name);
    });
  }

  /** Whether the broker has such an exchange. @throws BrokerAwayError */
  async hasExchange(name: string): Promise<boolean> {
    const found = await this.#unlessMissing(`look at exchange "${name}"`, async (channel) => {
      await declare.lookAtExchange(channel, name);
      return true;
    });
    return found ?? false;
  }

  async #ask<T>(action: string, method: (channel: AMQPChannel) => Promise<T>): Promise<T> {
    try {
      return await this.#options.control().run(method);
    } catch (error) {
      throw declarationError(action, error);
    }
  }

  async #unlessMissing<T>(
    action: string,
    method: (channel: AMQPChannel) => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await this.#options.control().run(method);
    } catch (error) {
      if (declare.isNotFound(error)) return undefined;
      throw declarationError(action, error);
    }
  }
}
