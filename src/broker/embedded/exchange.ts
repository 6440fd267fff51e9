/** One exchange with its bindings. */
import type { ExchangeSpec, ExchangeType } from "../broker.ts";
import type { Message } from "../message.ts";
import type { Queue } from "./queue.ts";
import { argumentsKey, type Condition, type RoutingTable, routingTable } from "./routing_table.ts";

export interface Binding extends Condition {
  readonly exchange: Exchange;
  readonly queue: Queue;
}

export class Exchange {
  readonly name: string;
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly #table: RoutingTable<Queue>;
  readonly #bindings = new Map<string, Binding>();

  constructor({ name, type, durable = true, autoDelete = false }: ExchangeSpec) {
    this.name = name;
    this.type = type;
    this.durable = durable;
    this.autoDelete = autoDelete;
    this.#table = routingTable(type);
  }

  get hasBindings(): boolean {
    return this.#bindings.size > 0;
  }

  /** The queues that a message reaches, each once. */
  route(message: Message): readonly Queue[] {
    return this.#table.route(message.routingKey, message.properties.headers);
  }

  /** The new binding, or undefined where it was there already. */
  bind(queue: Queue, condition: Condition): Binding | undefined {
    const key = keyOf(queue, condition);
    if (this.#bindings.has(key)) return undefined;
    const binding: Binding = { exchange: this, queue, ...condition };
    this.#bindings.set(key, binding);
    this.#table.add(condition, queue);
    return binding;
  }

  /** The binding that is gone now, or undefined where there was none. */
  unbind(queue: Queue, condition: Condition): Binding | undefined {
    const key = keyOf(queue, condition);
    const binding = this.#bindings.get(key);
    if (binding === undefined) return undefined;
    this.#bindings.delete(key);
    this.#table.remove(binding, queue);
    return binding;
  }
}

function keyOf(queue: Queue, condition: Condition): string {
  return JSON.stringify([queue.name, condition.routingKey, argumentsKey(condition.arguments)]);
}
