/**
 * A small pool of connections, replaced as a whole when one is lost or the server does not answer.
 *
 * Two things of the client (3.4.9) are kept away from. Whoever writes to a connection that has just
 * been lost throws out of a timer, past every catch, and ends the process; `begin` and `reserve` do so
 * with their own ROLLBACK, and may go on outside of the transaction on a new connection
 * (porsager/postgres#1208, #1155). So an operation is made of single statements, each a transaction of
 * its own, and what must be done together is a function in the database. And a connection that was
 * lost while it had something to write never writes again: so none is used twice.
 */
import { getLogger } from "@logtape/logtape";
import postgres from "postgres";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../errors.ts";
import type { PostgresAddress } from "./address.ts";
import { isInTheWay, isLost, storeError } from "./failures.ts";

const log = getLogger(["coxswain", "store"]);

export type Sql = postgres.Sql;

const CONNECT_LIMIT_S = 5;
/** Pause before a lost connection is tried again; queries that come meanwhile wait so long. */
const RECONNECT_PAUSE_S = 0.2;
/**
 * Every statement is made for an index. The planner cannot know that while its statistics are minutes
 * behind a table that fills in seconds: it was seen to read all rows for a batch of 500 and for a page
 * of 100 (30,000 rows: 50 ms for a page instead of 1).
 */
const PLANNER = {
  enable_seqscan: "off",
  enable_bitmapscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  jit: "off",
};
/** Operations that were in each other's way are tried so often. */
const TRIES = 20;

export interface ConnectionsOptions {
  readonly address: PostgresAddress;
  readonly maxConnections: number;
  /** How long one operation may take before the server counts as away. */
  readonly limitMs: number;
  /** When the server stops a statement by itself; 0: never. */
  readonly statementLimitMs: number;
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

  /**
   * Runs an operation, again where another one was in its way: it must be safe to repeat.
   * @throws StoreAwayError, StoreRefusedError.
   */
  run<T>(operation: (sql: Sql) => Promise<T>): Promise<T> {
    if (this.#isClosed) {
      const { place } = this.#options.address;
      return Promise.reject(new StoreAwayError(`The job records at ${place} are not open`));
    }
    const result = this.#run(operation);
    const forget = () => void this.#running.delete(result);
    this.#running.add(result);
    result.then(forget, forget);
    return result;
  }

  /** Lets what runs end, each within its limit. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.end({ timeout: 1 });
  }

  async #run<T>(operation: (sql: Sql) => Promise<T>): Promise<T> {
    const { address: { place }, limitMs } = this.#options;
    const pool = this.#pool ??= this.#open();
    const silence = Promise.withResolvers<never>();
    const timer = this.#clock.after(limitMs, () => {
      this.#drop(pool);
      silence.reject(
        new StoreAwayError(`PostgreSQL at ${place} is away: no answer within ${limitMs} ms`),
      );
    });
    try {
      return await Promise.race([untilNotInTheWay(() => operation(pool)), silence.promise]);
    } catch (error) {
      if (isLost(error)) this.#drop(pool);
      throw storeError(place, error);
    } finally {
      timer.cancel();
    }
  }

  #open(): Sql {
    const { address, maxConnections, statementLimitMs } = this.#options;
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
        statement_timeout: statementLimitMs,
        ...PLANNER,
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

async function untilNotInTheWay<T>(operation: () => Promise<T>): Promise<T> {
  for (let tries = 1;; tries += 1) {
    try {
      return await operation();
    } catch (error) {
      if (!isInTheWay(error) || tries >= TRIES) throw error;
    }
  }
}
