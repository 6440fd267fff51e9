/**
 * Keeps one connection up: makes it, prepares it, and makes another whenever it is lost, until it is
 * stopped. What lives on the connection watches it and comes back with the next one.
 *
 * States: idle → connecting → up → connecting → … → stopped.
 */
import { getLogger } from "@logtape/logtape";
import { Backoff } from "../../async/backoff.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { BrokerAwayError, BrokerRefusedError } from "../errors.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { type Failure, failureOf } from "./failure.ts";
import { pause } from "./pause.ts";

const log = getLogger(["coxswain", "broker"]);

/** First and longest pause between tries. */
const BACKOFF = { baseMs: 100, capMs: 2_000 } as const;

export interface LinkOptions {
  readonly connection: ConnectionOptions;
  /** How long one try may take until the broker has greeted. */
  readonly connectTimeoutMs: number;
  /** Makes a new connection useful before anyone else gets it; rejects when it is lost meanwhile. */
  readonly prepare: (connection: Connection) => Promise<void>;
  /** Told of each change: a prepared connection, or why there is none. */
  readonly changed: (now: Connection | { readonly reason: string }) => void;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  readonly #waiting = new Set<(connection: Connection) => void>();
  /** Being opened or prepared. */
  #next: Connection | undefined;
  #connection: Connection | undefined;
  #keeper: Promise<void> | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#clock = options.connection.clock;
  }

  /** The prepared connection, while there is one. */
  get connection(): Connection | undefined {
    return this.#connection?.isLost ? undefined : this.#connection;
  }

  /** The prepared connection, now or when there is one; never after `stop`. */
  whenUp(listener: (connection: Connection) => void): () => void {
    const { connection } = this;
    if (connection !== undefined) {
      listener(connection);
      return () => false;
    }
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  /**
   * Resolves when it is up for the first time; from then on it is kept up.
   * @throws BrokerRefusedError, or BrokerAwayError when the signal aborts or `stop` is called first.
   */
  async start(signal: AbortSignal): Promise<void> {
    const first = await this.#connect(AbortSignal.any([signal, this.#stopping.signal]), false);
    this.#keeper = this.#keepUp(first);
  }

  /** Says farewell and lets go; takes some 2 s at most. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#waiting.clear();
    this.#next?.destroy(new Error("stopped"));
    await this.#connection?.farewell();
    await this.#keeper;
  }

  /** Resolves when it is stopped. */
  async #keepUp(first: Connection): Promise<void> {
    let connection = first;
    while (true) {
      this.#up(connection);
      const reason = await connection.lost;
      this.#connection = undefined;
      if (this.#stopping.signal.aborted) return;
      log.warn("Connection {name} to {broker} lost: {reason}", { ...this.#names, reason });
      this.#options.changed({ reason });
      const next = await this.#connect(this.#stopping.signal, true).catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return undefined;
        throw error;
      });
      if (next === undefined) return;
      connection = next;
      log.info("Connection {name} to {broker} is back", this.#names);
    }
  }

  #up(connection: Connection): void {
    this.#connection = connection;
    this.#options.changed(connection);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener(connection);
  }

  /** @param isPatient what is refused may be mended meanwhile: the program has worked before. */
  async #connect(signal: AbortSignal, isPatient: boolean): Promise<Connection> {
    const backoff = new Backoff(BACKOFF);
    let told = "";
    // All who lost the same broker should not come back in the same moment.
    if (isPatient) await pause(this.#clock, backoff.next(), signal);
    while (true) {
      const tried = await this.#try(signal);
      if (tried instanceof Connection) return tried;
      const { kind, reason } = tried;
      if (kind === "refused" && !isPatient) {
        throw new BrokerRefusedError(`Cannot connect to ${this.#names.broker}: ${reason}`);
      }
      // Once for each reason: a broker may be away for days.
      if (reason !== told && !signal.aborted) {
        log.warn("Cannot connect to {broker}, trying on: {reason}", { ...this.#names, reason });
        told = reason;
      }
      await pause(this.#clock, backoff.next(), signal);
      if (signal.aborted) {
        const cause = new Error(told || reason);
        throw new BrokerAwayError(`Cannot connect to ${this.#names.broker}: ${cause.message}`, {
          cause,
        });
      }
    }
  }

  async #try(signal: AbortSignal): Promise<Connection | Failure> {
    const { connection: options, connectTimeoutMs, prepare } = this.#options;
    if (signal.aborted) return { kind: "away", reason: "the start was called off" };
    const connection = this.#next = new Connection(options);
    try {
      await connection.open(connectTimeoutMs, signal);
      await prepare(connection);
      return connection;
    } catch (error) {
      connection.destroy(error);
      return failureOf(error);
    } finally {
      this.#next = undefined;
    }
  }

  get #names(): { readonly name: string; readonly broker: string } {
    const { name, endpoint } = this.#options.connection;
    return { name, broker: endpoint.label };
  }
}
