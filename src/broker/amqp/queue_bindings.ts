/**
 * What a private queue is bound to, whatever its name is now: what is wanted, and what the broker has
 * been told. Many bindings are on the way at once on a channel of their own, for one at a time costs
 * RabbitMQ twice as long (seen: 10,000 in 1.7 s, and one by one in 3.1 s).
 */
import type { AMQPChannel } from "@cloudamqp/amqp-client";
import type { BindingSpec } from "../broker.ts";
import { BrokerAwayError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import * as declare from "./declare.ts";

type Binding = Omit<BindingSpec, "queue">;

/** The queue under its present name, on its connection. */
interface Place {
  readonly connection: Connection;
  readonly name: string;
  channel: Promise<AMQPChannel> | undefined;
}

/** States: without a queue (what is bound waits) → applying → in place → without a queue; closed. */
export class QueueBindings {
  readonly #bindAlone: (spec: BindingSpec) => Promise<void>;
  /** By exchange, key and arguments. */
  readonly #wanted = new Map<string, Binding>();
  #place: Place | undefined;
  #inPlace = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(wanted: readonly Binding[], bindAlone: (spec: BindingSpec) => Promise<void>) {
    this.#bindAlone = bindAlone;
    for (const binding of wanted) this.add(binding);
    // Nobody may be waiting when it is closed.
    this.#inPlace.promise.catch(ignore);
  }

  /** It is wanted from now on; whoever adds it has told the broker. */
  add(binding: Binding): void {
    this.#wanted.set(keyOf(binding), binding);
  }

  remove(binding: Binding): void {
    this.#wanted.delete(keyOf(binding));
  }

  /** Binds the queue, which has just been made, to all that is wanted. @throws what the broker said. */
  async apply(connection: Connection, name: string): Promise<void> {
    const place: Place = { connection, name, channel: undefined };
    const told = new Map<string, Binding>();
    while (true) {
      // What is wanted may change while the broker is told.
      const missing = [...this.#wanted].filter(([key]) => !told.has(key));
      const surplus = [...told].filter(([key]) => !this.#wanted.has(key));
      if (missing.length + surplus.length === 0) break;
      await onChannel(place, (channel) =>
        Promise.all([
          ...surplus.map(([, binding]) => declare.unbind(channel, { ...binding, queue: name })),
          ...missing.map(([, binding]) => declare.bind(channel, { ...binding, queue: name })),
        ]));
      for (const [key] of surplus) told.delete(key);
      for (const [key, binding] of missing) told.set(key, binding);
    }
    if (this.#isClosed) return;
    this.#place = place;
    this.#inPlace.resolve();
  }

  /** The queue is gone with its bindings. */
  lost(): void {
    if (this.#place === undefined || this.#isClosed) return;
    this.#place = undefined;
    this.#inPlace = Promise.withResolvers();
    this.#inPlace.promise.catch(ignore);
  }

  /** Whoever waits for a binding is told that there will be none. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#place = undefined;
    this.#inPlace.reject(closed());
  }

  async bind(binding: Binding): Promise<void> {
    if (this.#isClosed) throw closed();
    const place = this.#place;
    this.add(binding);
    if (place === undefined) return await this.#inPlace.promise;
    const spec = { ...binding, queue: place.name };
    try {
      await onChannel(place, (channel) => declare.bind(channel, spec));
    } catch {
      await this.#bindAgain(place, spec);
    }
  }

  async unbind(binding: Binding): Promise<void> {
    const place = this.#place;
    this.remove(binding);
    if (place === undefined) return;
    const spec = { ...binding, queue: place.name };
    try {
      await onChannel(place, (channel) => declare.unbind(channel, spec));
    } catch (error) {
      // It is gone with its queue, or with the exchange; a channel may have closed for another's fault.
      if (this.#place !== place || declare.isNotFound(error)) return;
      await onChannel(place, (channel) => declare.unbind(channel, spec));
    }
  }

  /** One refusal closes the channel under all that were on the way: which one it was shows alone. */
  async #bindAgain(place: Place, spec: BindingSpec): Promise<void> {
    try {
      if (this.#place === place && !place.connection.isLost) return await this.#bindAlone(spec);
    } catch (error) {
      if (!(error instanceof BrokerAwayError)) this.remove(spec);
      if (!place.connection.isLost) throw error;
    }
    // The loss of the connection may be known here before the queue's is.
    if (this.#place === place) this.lost();
    await this.#inPlace.promise;
  }
}

async function onChannel<T>(
  place: Place,
  method: (channel: AMQPChannel) => Promise<T>,
): Promise<T> {
  const { connection } = place;
  const known = place.channel ??= connection.openChannel(ignore);
  let channel = await known;
  if (channel.closed) {
    // Others may have seen it too.
    if (place.channel === known) place.channel = connection.openChannel(ignore);
    channel = await place.channel;
  }
  return await connection.orLost(method(channel));
}

function closed(): BrokerAwayError {
  return new BrokerAwayError("Cannot bind a private queue: it is closed");
}

/** Whoever asked is told. */
function ignore(): void {}

function keyOf({ exchange, routingKey = "", arguments: args = {} }: Binding): string {
  return JSON.stringify([exchange, routingKey, Object.entries(args).toSorted()]);
}
