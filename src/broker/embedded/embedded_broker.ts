/**
 * ADAPTER: a broker inside this process, on one SQLite file. Durable messages are on disk before they
 * are confirmed; transient ones never touch it. It is away only before it starts and after it stops.
 *
 * Messages are handed on as they are: who publishes one must not change its body or properties
 * afterwards, and several consumers may be given the same bytes.
 *
 * A data folder belongs to one process at a time.
 */
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { Broker } from "../broker.ts";
import { BrokerAwayError } from "../errors.ts";
import { Engine } from "./engine.ts";
import { Session, type SessionHost } from "./session.ts";

const COMFORTABLE_BYTES = 128 * 1024 * 1024;
const MAX_MEMORY_BYTES = 512 * 1024 * 1024;

export interface EmbeddedBrokerOptions {
  /** Folder of `broker.sqlite`; created with mode 0700 where it is missing. */
  readonly dataDir: string;
  readonly clock?: Clock;
  /**
   * Past this many bytes of waiting messages, those that are on disk leave memory until somebody
   * takes them. Default 128 MiB.
   */
  readonly comfortableBytes?: number;
  /**
   * Past this many bytes in memory the broker is blocked: it takes nothing more for shared queues,
   * only for private ones (replies, so that work can end). Default 512 MiB.
   */
  readonly maxMemoryBytes?: number;
  /**
   * Largest size of the file in bytes; past it, durable messages are refused. Default: what the disk
   * holds.
   */
  readonly maxFileBytes?: number;
}

/** The broker, and the connections to it. Created without effects. */
export class EmbeddedBroker implements SessionHost {
  readonly #options: EmbeddedBrokerOptions;
  readonly #sessions = new Set<Session>();
  /** Undefined before the first start and after the stop. */
  #engine: Engine | undefined;
  #isStopped = false;

  constructor(options: EmbeddedBrokerOptions) {
    this.#options = options;
  }

  /** A new connection, not started. The first one that starts opens the data folder. */
  connect(): Broker {
    return new Session(this);
  }

  /**
   * Opens the data folder. Once is enough; again is fine.
   * @throws BrokerRefusedError when another process uses the folder, or it cannot be used.
   * @throws BrokerAwayError after `stop`.
   */
  async start(): Promise<void> {
    await this.open();
  }

  /** Stops all connections, writes what is left and closes the folder. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const session of [...this.#sessions]) await session.stop();
    const engine = this.#engine;
    this.#engine = undefined;
    await engine?.close();
  }

  async open(session?: Session): Promise<Engine> {
    // Opening is at once now; the port's promise lets it move to a thread of its own.
    await Promise.resolve();
    if (this.#isStopped) {
      throw new BrokerAwayError("Cannot use the embedded broker: it was stopped");
    }
    this.#engine ??= this.#openEngine();
    if (session !== undefined) this.#sessions.add(session);
    return this.#engine;
  }

  left(session: Session): Promise<void> {
    this.#sessions.delete(session);
    return Promise.resolve();
  }

  #openEngine(): Engine {
    const { dataDir, clock = systemClock, maxFileBytes } = this.#options;
    return Engine.open({
      dataDir,
      clock,
      comfortableBytes: this.#options.comfortableBytes ?? COMFORTABLE_BYTES,
      maxMemoryBytes: this.#options.maxMemoryBytes ?? MAX_MEMORY_BYTES,
      ...(maxFileBytes === undefined ? {} : { maxFileBytes }),
      onBlocked: (reason) => {
        for (const session of this.#sessions) session.noteBlocked(reason);
      },
    });
  }
}

/** The only connection to a broker of its own: stopping it stops the broker. */
export function openEmbeddedBroker(options: EmbeddedBrokerOptions): Broker {
  const broker = new EmbeddedBroker(options);
  return new Session({
    open: (session) => broker.open(session),
    async left(session) {
      await broker.left(session);
      await broker.stop();
    },
  });
}
