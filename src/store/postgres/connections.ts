/**
 * A small pool of connections, replaced as a whole when the server does not answer: a connection that
 * is half dead would keep whoever is given it waiting.
 */
import { getLogger } from "@logtape/logtape";
import postgres from "postgres";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../errors.ts";
import type { PostgresAddress } from "./address.ts";
import { isInTheWay, storeError } from "./failures.ts";

const log = getLogger(["coxswain", "store"]);

export type Sql = postgres.Sql;
export type Transaction = postgres.TransactionSql;

const CONNECT_LIMIT_S = 5;
/** The server stops a statement before we give up on it. */
const STATEMENT_LIMIT_MS = 8_000;
/** Pause before a lost connection is tried again; queries that come meanwhile wait so long. */
const RECONNECT_PAUSE_S = 0.2;
/** Transactions that were in each other's way are tried so often. */
const TRIES = 10;

export interface ConnectionsOptions {
  readonly address: PostgresAddress;
  readonly maxConnections: number;
  /** How long one operation may take before the server counts as away. */
  readonly limitMs: number;
  readonly clock?: Clock;
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #clock: Clock;
  readonly #running = new Set<Promise<unknown>>();
  #pool: Sql | undefined;
  #isClosed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Runs one operation. @throws StoreAwayError, StoreRefusedError. */
  run<T>(operation: (sql: Sql) => Promise<T>, limitMs = this.#options.limitMs): Promise<T> {
    if (this.#isClosed) {
      const { place } = this.#options.address;
      return Promise.reject(new StoreAwayError(`The job records at ${place} are not open`));
    }
    const result = this.#run(operation, limitMs);
    const forget = () => void this.#running.delete(result);
    this.#running.add(result);
    result.then(forget, forget);
    return result;
  }

  /** Runs an operation in one transaction: all of it, or nothing. */
  transaction<T>(operation: (sql: Transaction) => Promise<T>, limitMs?: number): Promise<T> {
    return this.run(async (sql) => {
      for (let tries = 1;; tries += 1) {
        try {
          const { value } = await sql.begin(async (sql) => ({ value: await operation(sql) }));
          return value as T;
        } catch (error) {
          if (!isInTheWay(error) || tries >= TRIES) throw error;
        }
      }
    }, limitMs);
  }

  /** Lets what runs end, each within its limit. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.end({ timeout: 1 });
  }

  async #run<T>(operation: (sql: Sql) => Promise<T>, limitMs: number): Promise<T> {
    const { place } = this.#options.address;
    const pool = this.#pool ??= this.#open();
    const silence = Promise.withResolvers<never>();
    const timer = this.#clock.after(limitMs, () => {
      this.#drop(pool);
      silence.reject(
        new StoreAwayError(`PostgreSQL at ${place} is away: no answer within ${limitMs} ms`),
      );
    });
    try {
      return await Promise.race([operation(pool), silence.promise]);
    } catch (error) {
      throw storeError(place, error);
    } finally {
      timer.cancel();
    }
  }

  #open(): Sql {
    const { address, maxConnections } = this.#options;
    return postgres(address.url, {
      ssl: address.tls,
      max: maxConnections,
      connect_timeout: CONNECT_LIMIT_S,
      backoff: () => RECONNECT_PAUSE_S,
      // Columns are of types that need no look-up.
      fetch_types: false,
      onnotice: () => {},
      connection: {
        application_name: "coxswain",
        statement_timeout: STATEMENT_LIMIT_MS,
        idle_in_transaction_session_timeout: 2 * STATEMENT_LIMIT_MS,
      },
    });
  }

  /** What still runs on these connections fails; the next operation gets new ones. */
  #drop(pool: Sql): void {
    if (this.#pool === pool) this.#pool = undefined;
    pool.end({ timeout: 0 }).catch((error: unknown) => {
      log.debug("Connections to a silent PostgreSQL could not be closed: {error}", { error });
    });
  }
}
