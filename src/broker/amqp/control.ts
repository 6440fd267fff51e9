/**
 * Everything that is declared, bound, looked at and deleted, one thing at a time on one channel: a
 * refusal closes the channel, and must hit nobody else. It works on the consuming connection, which
 * the broker never blocks and which exclusive queues belong to.
 */
import type { AMQPChannel } from "@cloudamqp/amqp-client";
import type { Clock } from "../../lifecycle/clock.ts";
import { BrokerAwayError, DeclarationError, QueueTakenError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { brokerReply, reasonOf, REPLY } from "./failure.ts";

/** A broker that does not answer a declaration for this long is asked again on a new channel. */
const ANSWER_LIMIT_MS = 20_000;

/** One connection's channel for declarations; opened when it is needed. */
export class Control {
  readonly #connection: Connection;
  readonly #clock: Clock;
  #channel: AMQPChannel | undefined;
  /** The end of the queue: settled when all that was asked before is done. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /**
   * Runs one method when those asked before are done.
   * @throws what the broker said (see `brokerReply`), or BrokerAwayError.
   */
  run<T>(method: (channel: AMQPChannel) => Promise<T>): Promise<T> {
    const done = this.#tail.then(() => this.#run(method));
    this.#tail = done.then(ignore, ignore);
    return done;
  }

  async #run<T>(method: (channel: AMQPChannel) => Promise<T>): Promise<T> {
    const connection = this.#connection;
    const late = Promise.withResolvers<never>();
    const timer = this.#clock.after(ANSWER_LIMIT_MS, () => {
      this.#channel = undefined;
      late.reject(new BrokerAwayError(`The broker gave no answer within ${ANSWER_LIMIT_MS} ms`));
    });
    try {
      const answer = this.#open().then((channel) => connection.orLost(method(channel)));
      return await Promise.race([answer, late.promise]);
    } catch (error) {
      if (connection.isLost && brokerReply(error) === undefined) {
        throw new BrokerAwayError(`The broker was lost meanwhile: ${reasonOf(error)}`);
      }
      throw error;
    } finally {
      timer.cancel();
    }
  }

  async #open(): Promise<AMQPChannel> {
    const open = this.#channel;
    if (open !== undefined && !open.closed) return open;
    return this.#channel = await this.#connection.openChannel(ignore);
  }
}

/**
 * What the port's users get for a refused declaration.
 * @param action such as `declare queue "q"`.
 */
export function declarationError(action: string, error: unknown): Error {
  if (error instanceof BrokerAwayError || error instanceof DeclarationError) return error;
  const reply = brokerReply(error);
  if (reply?.code === REPLY.accessRefused && reply.text.endsWith("in exclusive use")) {
    return new QueueTakenError(`Cannot ${action}: ${reply.text} (${reply.code})`);
  }
  return reply === undefined
    ? new DeclarationError(`Cannot ${action}: ${reasonOf(error)}`)
    : new DeclarationError(`Cannot ${action}: ${reply.text} (${reply.code})`);
}

/** Whoever asked has been told; the queue goes on. */
function ignore(): void {}
