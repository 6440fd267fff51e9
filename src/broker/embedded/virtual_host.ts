/**
 * The exchanges, queues and bindings of one broker: who may declare, use and delete them, and which
 * of them the disk shall know. Routing and delivery are theirs.
 */
import type { BindingSpec, ExchangeSpec, QueueSpec, QueueStatus } from "../broker.ts";
import { DeclarationError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { EmbeddedConsumer } from "./consumer.ts";
import { type Binding, Exchange } from "./exchange.ts";
import type { StoredBinding, TopologyChange } from "./journal_file.ts";
import { isTooLong } from "./message_check.ts";
import { Queue } from "./queue.ts";
import {
  checkExchangeName,
  mismatchOf,
  type QueueShape,
  QUORUM_MISMATCH,
  shapeOf,
} from "./queue_shape.ts";
import { argumentsKey, type Condition } from "./routing_table.ts";
import type { Surroundings } from "./surroundings.ts";

export class VirtualHost {
  readonly #around: Surroundings;
  readonly #exchanges = new Map<string, Exchange>();
  readonly #queues = new Map<string, Queue>();
  readonly #bindings = new Map<Queue, Set<Binding>>();
  /** Consumers whose queue is gone, by its name. */
  readonly #waiting = new Map<string, Set<EmbeddedConsumer>>();
  #lastDiskId = 0;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  get queues(): Iterable<Queue> {
    return this.#queues.values();
  }

  /** The queue that the default exchange means by a routing key. */
  queue(name: string): Queue | undefined {
    return this.#queues.get(name);
  }

  exchange(name: string): Exchange | undefined {
    return this.#exchanges.get(name);
  }

  /** The queues that a message reaches, or undefined where its exchange does not exist. */
  route(message: Message): readonly Queue[] | undefined {
    if (message.exchange !== "") return this.#exchanges.get(message.exchange)?.route(message);
    const queue = this.#queues.get(message.routingKey);
    return queue === undefined ? [] : [queue];
  }

  declareExchange(spec: ExchangeSpec): void {
    checkExchangeName(spec);
    const { name, type, durable = true, autoDelete = false } = spec;
    const found = this.#exchanges.get(name);
    if (found === undefined) {
      const exchange = this.restoreExchange(spec);
      if (exchange.durable) {
        this.#note({ kind: "exchange_declared", exchange: { name, type, autoDelete } });
      }
      return;
    }
    if (found.type === type && found.durable === durable && found.autoDelete === autoDelete) return;
    throw new DeclarationError(
      `Cannot declare exchange "${name}" as ${describeExchange({ type, durable, autoDelete })}: ` +
        `it exists as ${describeExchange(found)}`,
    );
  }

  /** Declares a queue for all, or for its owner alone. */
  declareQueue(spec: QueueSpec, owner?: object): QueueStatus {
    const shape = shapeOf(spec);
    const { name } = spec;
    const found = this.#queues.get(name);
    if (found !== undefined) this.#checkOwner(found, owner, "declare");
    const queue = found ?? this.#create(name, shape, owner);
    const mismatch = spec.type === "quorum" ? QUORUM_MISMATCH : mismatchOf(queue.shape, shape);
    return mismatch === undefined ? queue.status : { ...queue.status, mismatch };
  }

  bind(spec: BindingSpec, user: object): void {
    const { exchange, queue } = this.#ends(spec, user);
    const binding = exchange.bind(queue, conditionOf(spec));
    if (binding === undefined) return;
    this.#bindingsOf(queue).add(binding);
    if (isDurable(binding)) this.#note({ kind: "bound", binding: rowOf(binding) });
  }

  unbind(spec: BindingSpec): void {
    const queue = this.#queues.get(spec.queue);
    if (queue === undefined) return;
    const binding = this.#exchanges.get(spec.exchange)?.unbind(queue, conditionOf(spec));
    if (binding !== undefined) this.#unbound(binding);
  }

  deleteQueue(name: string, user: object): void {
    const queue = this.#queues.get(name);
    if (queue === undefined) return;
    this.#checkOwner(queue, user, "delete");
    this.#queues.delete(name);
    for (const binding of [...this.#bindingsOf(queue)]) {
      binding.exchange.unbind(queue, binding);
      this.#unbound(binding);
    }
    this.#bindings.delete(queue);
    if (queue.shape.durable) this.#note({ kind: "queue_deleted", id: queue.diskId });
    queue.delete();
  }

  /** The queue, where this connection may use it. @throws DeclarationError where not. */
  demandQueue(name: string, user: object, action: string): Queue {
    const queue = this.#queues.get(name);
    if (queue === undefined) {
      throw new DeclarationError(`Cannot ${action} queue "${name}": there is no such queue`);
    }
    this.#checkOwner(queue, user, action);
    return queue;
  }

  awaitQueue(consumer: EmbeddedConsumer): void {
    let waiting = this.#waiting.get(consumer.queue);
    if (waiting === undefined) this.#waiting.set(consumer.queue, waiting = new Set());
    waiting.add(consumer);
  }

  stopAwaiting(consumer: EmbeddedConsumer): void {
    const waiting = this.#waiting.get(consumer.queue);
    waiting?.delete(consumer);
    if (waiting?.size === 0) this.#waiting.delete(consumer.queue);
  }

  /** Makes an exchange without telling the disk. */
  restoreExchange(spec: ExchangeSpec): Exchange {
    const exchange = new Exchange(spec);
    this.#exchanges.set(spec.name, exchange);
    return exchange;
  }

  /** Makes a queue without telling the disk. */
  restoreQueue(name: string, shape: QueueShape, diskId: number, owner?: object): Queue {
    const queue = new Queue(name, shape, diskId, owner, this.#around);
    this.#lastDiskId = Math.max(this.#lastDiskId, diskId);
    this.#queues.set(name, queue);
    return queue;
  }

  /** Makes a binding without telling the disk. */
  restoreBinding(exchange: Exchange, queue: Queue, condition: Condition): void {
    const binding = exchange.bind(queue, condition);
    if (binding !== undefined) this.#bindingsOf(queue).add(binding);
  }

  #create(name: string, shape: QueueShape, owner: object | undefined): Queue {
    const queue = this.restoreQueue(name, shape, this.#lastDiskId + 1, owner);
    if (shape.durable) {
      this.#note({ kind: "queue_declared", queue: { id: queue.diskId, name, shape } });
    }
    const waiting = owner === undefined ? this.#waiting.get(name) : undefined;
    if (waiting !== undefined) this.#waiting.delete(name);
    for (const consumer of waiting ?? []) consumer.attach(queue);
    return queue;
  }

  #ends(spec: BindingSpec, user: object): { exchange: Exchange; queue: Queue } {
    const { routingKey = "" } = spec;
    const action = `Cannot bind queue "${spec.queue}" to exchange "${spec.exchange}"`;
    if (spec.exchange === "") {
      throw new DeclarationError(`${action}: every queue is bound to the default exchange already`);
    }
    const exchange = this.#exchanges.get(spec.exchange);
    if (exchange === undefined) throw new DeclarationError(`${action}: there is no such exchange`);
    const queue = this.#queues.get(spec.queue);
    if (queue === undefined) throw new DeclarationError(`${action}: there is no such queue`);
    if (isTooLong(routingKey)) {
      throw new DeclarationError(`${action}: the routing key has more than 255 bytes`);
    }
    this.#checkOwner(queue, user, "bind");
    return { exchange, queue };
  }

  #unbound(binding: Binding): void {
    const { exchange, queue } = binding;
    this.#bindingsOf(queue).delete(binding);
    if (isDurable(binding)) this.#note({ kind: "unbound", binding: rowOf(binding) });
    if (!exchange.autoDelete || exchange.hasBindings) return;
    this.#exchanges.delete(exchange.name);
    if (exchange.durable) this.#note({ kind: "exchange_deleted", name: exchange.name });
  }

  #bindingsOf(queue: Queue): Set<Binding> {
    let bindings = this.#bindings.get(queue);
    if (bindings === undefined) this.#bindings.set(queue, bindings = new Set());
    return bindings;
  }

  #checkOwner(queue: Queue, user: object | undefined, action: string): void {
    if (queue.owner === undefined || queue.owner === user) return;
    throw new DeclarationError(
      `Cannot ${action} queue "${queue.name}": it belongs to another connection`,
    );
  }

  #note(change: TopologyChange): void {
    this.#around.journal.change(change);
  }
}

function conditionOf(spec: BindingSpec): Condition {
  return { routingKey: spec.routingKey ?? "", arguments: spec.arguments ?? {} };
}

function isDurable({ exchange, queue }: Binding): boolean {
  return exchange.durable && queue.shape.durable;
}

function rowOf({ exchange, queue, routingKey, arguments: given }: Binding): StoredBinding {
  return {
    exchange: exchange.name,
    queue: queue.diskId,
    routingKey,
    argumentsText: argumentsKey(given),
  };
}

function describeExchange(
  { type, durable, autoDelete }: Required<Omit<ExchangeSpec, "name">>,
): string {
  return [durable ? "durable" : "transient", ...(autoDelete ? ["auto-delete"] : []), type].join(
    " ",
  );
}
