/** What was declared through a broker and has to be there again after it was lost. Pure bookkeeping. */
import type { BindingSpec, ExchangeSpec, QueueSpec } from "../broker.ts";

/** What belongs together when something is declared again, in this order. */
export interface Declarations {
  readonly exchanges: readonly ExchangeSpec[];
  readonly queues: readonly QueueSpec[];
  readonly bindings: readonly BindingSpec[];
}

export class TopologyMemory {
  readonly #exchanges = new Map<string, ExchangeSpec>();
  readonly #queues = new Map<string, QueueSpec>();
  readonly #bindings = new Map<string, BindingSpec>();

  addExchange(spec: ExchangeSpec): void {
    this.#exchanges.set(spec.name, spec);
  }

  addQueue(spec: QueueSpec): void {
    this.#queues.set(spec.name, spec);
  }

  addBinding(spec: BindingSpec): void {
    this.#bindings.set(bindingKey(spec), spec);
  }

  removeBinding(spec: BindingSpec): void {
    this.#bindings.delete(bindingKey(spec));
  }

  /** Forgets a queue and what it was bound to. */
  removeQueue(name: string): void {
    this.#queues.delete(name);
    for (const [key, { queue }] of this.#bindings) if (queue === name) this.#bindings.delete(key);
  }

  all(): Declarations {
    return {
      exchanges: [...this.#exchanges.values()],
      queues: [...this.#queues.values()],
      bindings: [...this.#bindings.values()],
    };
  }

  /** A queue with its bindings; undefined when it was not declared here. */
  ofQueue(name: string): Declarations | undefined {
    const queue = this.#queues.get(name);
    if (queue === undefined) return undefined;
    const bindings = [...this.#bindings.values()].filter((binding) => binding.queue === name);
    return { exchanges: [], queues: [queue], bindings };
  }

  /** An exchange with its bindings; undefined when it was not declared here. */
  ofExchange(name: string): Declarations | undefined {
    const exchange = this.#exchanges.get(name);
    if (exchange === undefined) return undefined;
    const bindings = [...this.#bindings.values()].filter((binding) => binding.exchange === name);
    return { exchanges: [exchange], queues: [], bindings };
  }
}

function bindingKey({ exchange, queue, routingKey = "", arguments: args = {} }: BindingSpec) {
  const sorted = Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([exchange, queue, routingKey, sorted]);
}
