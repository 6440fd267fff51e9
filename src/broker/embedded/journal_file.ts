/**
 * The broker's disk: writes groups of changes, each in one transaction, brings them to the disk, and
 * reads back what is there. When to write is the journal's matter.
 */
import { closeSync, fdatasync, openSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { ExchangeType } from "../broker.ts";
import type { Message } from "../message.ts";
import { decodeProperties, encodeProperties } from "./message_codec.ts";
import type { QueueShape } from "./queue_shape.ts";

export interface StoredExchange {
  readonly name: string;
  readonly type: ExchangeType;
  readonly autoDelete: boolean;
}

export interface StoredQueue {
  readonly id: number;
  readonly name: string;
  readonly shape: QueueShape;
}

export interface StoredBinding {
  readonly exchange: string;
  readonly queue: number;
  readonly routingKey: string;
  /** As `argumentsKey` writes them. */
  readonly argumentsText: string;
}

/** A message on disk without its content. */
export interface StoredMessage {
  readonly id: number;
  readonly queue: number;
  readonly priority: number;
  /** Milliseconds since the epoch; null: never. */
  readonly expiresAt: number | null;
  readonly bodyBytes: number;
}

export interface StoredMark {
  readonly queue: number;
  readonly priority: number;
  readonly upTo: number;
}

export type TopologyChange =
  | { readonly kind: "exchange_declared"; readonly exchange: StoredExchange }
  | { readonly kind: "exchange_deleted"; readonly name: string }
  | { readonly kind: "queue_declared"; readonly queue: StoredQueue }
  | { readonly kind: "queue_deleted"; readonly id: number }
  | { readonly kind: "bound"; readonly binding: StoredBinding }
  | { readonly kind: "unbound"; readonly binding: StoredBinding };

export interface NewMessage extends Omit<StoredMessage, "bodyBytes"> {
  readonly message: Message;
}

/** What goes to disk together or not at all. */
export interface Group {
  readonly changes: readonly TopologyChange[];
  readonly removals: readonly number[];
  readonly inserts: readonly NewMessage[];
  readonly marks: readonly StoredMark[];
  /** Writes something that matters to nobody, to see whether the disk takes it. */
  readonly probeAt?: number;
}

export class JournalFile {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #remove: StatementSync;
  readonly #mark: StatementSync;
  readonly #probe: StatementSync;
  readonly #load: StatementSync;
  /** SQLite's write-ahead log, which all commits go to first. Opened with the first sync. */
  #log: number | undefined;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#insert = database.prepare(
      "INSERT INTO messages (id, queue, priority, expires_at, exchange, routing_key, properties, " +
        "body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#remove = database.prepare("DELETE FROM messages WHERE id = ?");
    this.#mark = database.prepare(
      "INSERT INTO marks (queue, priority, up_to) VALUES (?, ?, ?) " +
        "ON CONFLICT (queue, priority) DO UPDATE SET up_to = excluded.up_to",
    );
    this.#probe = database.prepare("INSERT OR REPLACE INTO probes (id, at) VALUES (1, ?)");
    this.#load = database.prepare(
      "SELECT exchange, routing_key, properties, body FROM messages WHERE id = ?",
    );
  }

  /** Writes a group in one transaction. @throws Error from SQLite; then nothing of it is written. */
  write(group: Group): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      for (const change of group.changes) this.#change(change);
      // Removals first: the room that they free is there for the inserts.
      for (const id of group.removals) this.#remove.run(id);
      for (const { id, queue, priority, expiresAt, message } of group.inserts) {
        const { exchange, routingKey, properties, body } = message;
        const text = encodeProperties(properties);
        this.#insert.run(id, queue, priority, expiresAt, exchange, routingKey, text, body);
      }
      for (const { queue, priority, upTo } of group.marks) this.#mark.run(queue, priority, upTo);
      if (group.probeAt !== undefined) this.#probe.run(group.probeAt);
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  /**
   * Resolves when all that was written is on the disk. SQLite would wait for it with each commit, on
   * this thread; it is the same log and the same call, on another one. Whatever SQLite itself must have
   * on the disk in a certain order (the log's header, a checkpoint) it still syncs by itself.
   * @throws Error from the operating system: nobody knows what of it is on the disk.
   */
  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#log ??= openSync(`${this.#path()}-wal`, "r+");
      fdatasync(this.#log, (error) => error ? reject(error) : resolve());
    });
  }

  /** The content of one message. @throws Error when it is not there or cannot be read. */
  load(id: number): Message {
    const row = this.#load.get(id);
    if (row === undefined) throw new Error(`Cannot read message ${id} from disk: it is not there`);
    return {
      exchange: String(row["exchange"]),
      routingKey: String(row["routing_key"]),
      properties: decodeProperties(String(row["properties"])),
      body: row["body"] instanceof Uint8Array ? row["body"] : new Uint8Array(0),
    };
  }

  /** Messages of queues that were deleted while a consumer held them: nobody asks for them again. */
  sweep(): void {
    this.#database.exec(`
      BEGIN IMMEDIATE;
      DELETE FROM messages WHERE queue NOT IN (SELECT id FROM queues);
      DELETE FROM marks WHERE queue NOT IN (SELECT id FROM queues);
      COMMIT;
    `);
  }

  exchanges(): StoredExchange[] {
    return this.#rows("SELECT name, type, auto_delete FROM exchanges").map((row) => ({
      name: String(row["name"]),
      type: String(row["type"]) as ExchangeType,
      autoDelete: row["auto_delete"] === 1,
    }));
  }

  queues(): StoredQueue[] {
    return this.#rows("SELECT id, name, shape FROM queues").map((row) => ({
      id: Number(row["id"]),
      name: String(row["name"]),
      shape: JSON.parse(String(row["shape"])) as QueueShape,
    }));
  }

  bindings(): StoredBinding[] {
    return this.#rows("SELECT exchange, queue, routing_key, arguments FROM bindings")
      .map((row) => ({
        exchange: String(row["exchange"]),
        queue: Number(row["queue"]),
        routingKey: String(row["routing_key"]),
        argumentsText: String(row["arguments"]),
      }));
  }

  marks(): StoredMark[] {
    return this.#rows("SELECT queue, priority, up_to FROM marks").map((row) => ({
      queue: Number(row["queue"]),
      priority: Number(row["priority"]),
      upTo: Number(row["up_to"]),
    }));
  }

  /** All messages in the order of their ids. */
  *messages(): Generator<StoredMessage> {
    const statement = this.#database.prepare(
      "SELECT id, queue, priority, expires_at, length(body) AS bytes FROM messages ORDER BY id",
    );
    for (const row of statement.iterate()) {
      const expiresAt = row["expires_at"];
      yield {
        id: Number(row["id"]),
        queue: Number(row["queue"]),
        priority: Number(row["priority"]),
        expiresAt: expiresAt === null ? null : Number(expiresAt),
        bodyBytes: Number(row["bytes"]),
      };
    }
  }

  /** Nothing may be under way. */
  close(): void {
    this.#database.close();
    if (this.#log !== undefined) closeSync(this.#log);
    this.#log = undefined;
  }

  #change(change: TopologyChange): void {
    const run = (sql: string, ...values: (string | number)[]) =>
      this.#database.prepare(sql).run(...values);
    switch (change.kind) {
      case "exchange_declared": {
        const { name, type, autoDelete } = change.exchange;
        run("INSERT OR REPLACE INTO exchanges VALUES (?, ?, ?)", name, type, autoDelete ? 1 : 0);
        return;
      }
      case "exchange_deleted":
        run("DELETE FROM exchanges WHERE name = ?", change.name);
        run("DELETE FROM bindings WHERE exchange = ?", change.name);
        return;
      case "queue_declared": {
        const { id, name, shape } = change.queue;
        run("INSERT OR REPLACE INTO queues VALUES (?, ?, ?)", id, name, JSON.stringify(shape));
        return;
      }
      case "queue_deleted":
        run("DELETE FROM queues WHERE id = ?", change.id);
        run("DELETE FROM bindings WHERE queue = ?", change.id);
        run("DELETE FROM marks WHERE queue = ?", change.id);
        return;
      case "bound": {
        const { exchange, queue, routingKey, argumentsText } = change.binding;
        run(
          "INSERT OR REPLACE INTO bindings VALUES (?, ?, ?, ?)",
          exchange,
          queue,
          routingKey,
          argumentsText,
        );
        return;
      }
      case "unbound": {
        const { exchange, queue, routingKey, argumentsText } = change.binding;
        run(
          "DELETE FROM bindings WHERE exchange = ? AND queue = ? AND routing_key = ? AND arguments = ?",
          exchange,
          queue,
          routingKey,
          argumentsText,
        );
        return;
      }
    }
  }

  #path(): string {
    return String(this.#rows("PRAGMA database_list")[0]?.["file"]);
  }

  /** SQLite has rolled back by itself after some errors (a full disk), and says so here. */
  #rollBack(): void {
    try {
      this.#database.exec("ROLLBACK");
    } catch (error) {
      if (!(error instanceof Error && error.message.includes("no transaction is active"))) {
        throw error;
      }
    }
  }

  #rows(sql: string): Record<string, unknown>[] {
    return this.#database.prepare(sql).all() as Record<string, unknown>[];
  }
}
