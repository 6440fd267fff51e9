/**
 * The broker itself while it runs: takes messages, sends dead letters on their way, owns disk and
 * timers. Everything happens in memory and in one turn; only safety (a commit) is waited for.
 */
import { getLogger } from "@logtape/logtape";
import { Deadlines } from "../../async/deadlines.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { PublishOptions, PublishResult } from "../broker.ts";
import {
  BrokerAwayError,
  BrokerRefusedError,
  UnknownExchangeError,
  UnwritableMessageError,
} from "../errors.ts";
import type { Message } from "../message.ts";
import { openDataFile } from "./data_file.ts";
import { deadLetter, type Deathbed, type DeathReason, isCircling } from "./dead_letter.ts";
import type { Entry } from "./entry.ts";
import { Journal } from "./journal.ts";
import { JournalFile } from "./journal_file.ts";
import { whyUnwritable } from "./message_check.ts";
import type { Queue } from "./queue.ts";
import { recover } from "./recovery.ts";
import { Shelf } from "./shelf.ts";
import type { Surroundings } from "./surroundings.ts";
import { VirtualHost } from "./virtual_host.ts";

export interface EngineOptions {
  /** Folder of `broker.sqlite`; created with mode 0700 where it is missing. */
  readonly dataDir: string;
  readonly clock: Clock;
  /** Past this, waiting messages that are on disk leave memory. */
  readonly comfortableBytes: number;
  /** Past this, shared queues take nothing more. */
  readonly maxMemoryBytes: number;
  /** Largest size of the file; absent: what the disk holds. */
  readonly maxFileBytes?: number;
  /** The broker is blocked (why), or is so no more. */
  readonly onBlocked: (reason: string | undefined) => void;
}

const log = getLogger(["coxswain", "broker"]);

const SENT: Promise<PublishResult> = Promise.resolve("sent");
const CONFIRMED: Promise<PublishResult> = Promise.resolve("confirmed");
const RETURNED: Promise<PublishResult> = Promise.resolve("returned");

export class Engine implements Surroundings {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly shelf: Shelf;
  readonly journal: Journal;
  readonly host: VirtualHost;
  #lastId: number;
  #diskFailure: string | undefined;
  #shelfFull: string | undefined;
  readonly #onBlocked: EngineOptions["onBlocked"];

  private constructor(options: EngineOptions, file: JournalFile) {
    const { clock, comfortableBytes, maxMemoryBytes: maxBytes } = options;
    this.clock = clock;
    this.deadlines = new Deadlines(clock);
    this.#onBlocked = options.onBlocked;
    this.shelf = new Shelf({
      comfortableBytes,
      maxBytes,
      load: (id) => file.load(id),
      onFull: (reason) => this.#noteShelf(reason),
    });
    this.journal = new Journal(file, clock, {
      committed: (entries) => this.shelf.evict(entries),
      diskFailed: (reason) => this.#noteDisk(reason),
    });
    this.host = new VirtualHost(this);
    const { queues, messages, lastId } = recover(file, this.host, clock);
    this.#lastId = lastId;
    log.info("embedded broker started", { dataDir: options.dataDir, queues, messages });
  }

  /** Opens the data folder and brings back what is there. @throws BrokerRefusedError if it cannot. */
  static open(options: EngineOptions): Engine {
    const { dataDir, maxFileBytes } = options;
    const database = openDataFile(dataDir, maxFileBytes === undefined ? {} : { maxFileBytes });
    try {
      return new Engine(options, new JournalFile(database));
    } catch (error) {
      database.close();
      const reason = error instanceof Error ? error.message : String(error);
      throw new BrokerRefusedError(`Cannot read the broker's data in ${dataDir}: ${reason}`, {
        cause: error,
      });
    }
  }

  get blocked(): string | undefined {
    return this.#diskFailure ?? this.#shelfFull;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /**
   * Publishes a message.
   * @param onReturn told of a message that reached no queue where it had to and nobody waits for it;
   *   never from within this call.
   */
  publish(
    message: Message,
    { mandatory = false, confirm = false }: PublishOptions,
    onReturn: (message: Message) => void,
  ): Promise<PublishResult> {
    const problem = whyUnwritable(message);
    if (problem !== undefined) return refuse(message, problem);
    // By far the most messages go this way: to one queue by its name.
    const queue = message.exchange === "" ? this.host.queue(message.routingKey) : undefined;
    if (queue !== undefined) {
      if (this.shelf.isFull && queue.owner === undefined) return this.#refuseFull(message);
      const entry = queue.offer(message);
      if (!confirm) return SENT;
      return entry === undefined ? CONFIRMED : this.#whenSafe([entry]);
    }
    const queues = this.host.route(message);
    if (queues === undefined) {
      return Promise.reject(
        new UnknownExchangeError(refusal(message, "there is no such exchange")),
      );
    }
    if (queues.length === 0) {
      if (!mandatory) return confirm ? CONFIRMED : SENT;
      if (confirm) return RETURNED;
      queueMicrotask(() => onReturn(message));
      return SENT;
    }
    if (this.shelf.isFull && queues.some((queue) => queue.owner === undefined)) {
      return this.#refuseFull(message);
    }
    const unsafe = offerToAll(queues, message);
    if (!confirm) return SENT;
    return unsafe.length === 0 ? CONFIRMED : this.#whenSafe(unsafe);
  }

  bury(message: Message, bed: Deathbed, reason: DeathReason): void {
    const letter = deadLetter(message, bed, reason, this.clock.now());
    // Routed before anything is offered: an offer may change who is bound.
    for (const queue of [...(this.host.route(letter) ?? [])]) {
      if (reason !== "rejected" && isCircling(letter, queue.name)) {
        log.warn("message dropped: it circles between queues", { from: bed.name, to: queue.name });
      } else {
        queue.offer(letter);
      }
    }
  }

  /** Writes what is left and closes the file. */
  async close(): Promise<void> {
    const queues = [...this.host.queues];
    for (const queue of queues) queue.stopClocks();
    await this.journal.close(
      queues.filter(({ shape }) => shape.durable).flatMap(({ marks }) => marks),
    );
    log.info("embedded broker stopped");
  }

  #whenSafe(entries: readonly Entry[]): Promise<PublishResult> {
    return this.journal.committed(entries).then(() => "confirmed");
  }

  #refuseFull(message: Message): Promise<never> {
    return Promise.reject(
      new BrokerAwayError(`Cannot publish to ${describe(message)}: ${this.#shelfFull}`),
    );
  }

  #noteShelf(reason: string | undefined): void {
    this.#shelfFull = reason;
    if (reason === undefined) log.info("memory takes messages again");
    else log.error("memory takes no more messages", { reason });
    this.#tellBlocked();
  }

  #noteDisk(reason: string | undefined): void {
    const wasFailing = this.#diskFailure !== undefined;
    this.#diskFailure = reason === undefined
      ? undefined
      : `the disk takes no durable messages: ${reason}`;
    if (reason === undefined) log.info("disk takes durable messages again");
    else if (!wasFailing) log.error("disk takes no durable messages", { reason });
    this.#tellBlocked();
  }

  #tellBlocked(): void {
    this.#onBlocked(this.blocked);
  }
}

/** The entries that have to be committed before the message is safe. */
function offerToAll(queues: readonly Queue[], message: Message): Entry[] {
  const unsafe: Entry[] = [];
  for (const queue of queues) {
    const entry = queue.offer(message);
    if (entry !== undefined) unsafe.push(entry);
  }
  return unsafe;
}

function refuse(message: Message, why: string): Promise<never> {
  return Promise.reject(new UnwritableMessageError(refusal(message, why)));
}

function refusal(message: Message, why: string): string {
  return `Cannot publish to ${describe(message)}: ${why}`;
}

function describe({ exchange, routingKey }: Message): string {
  const key = JSON.stringify(routingKey.slice(0, 80));
  return exchange === "" ? `queue ${key}` : `exchange "${exchange.slice(0, 80)}" with key ${key}`;
}
