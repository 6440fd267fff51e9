/** What PostgreSQL and its client throw, in the store's words. */
import { StoreAwayError, StoreRefusedError } from "../errors.ts";
import { NEWER_FORMAT } from "./schema.ts";

/** SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const AGAIN: ReadonlySet<string> = new Set([
  "40001", // serialization failure: our functions say so too
  "40P01", // deadlock
]);
const AWAY_CLASSES: ReadonlySet<string> = new Set([
  "08", // connection exception
  "53", // insufficient resources: connections, disk, memory
  "57", // operator intervention: shutdown, starting up, statement timeout
  "58", // system error: input/output
]);
/** A connection was lost, and nobody can say more: names of the client and of the system. */
const AWAY_CODES: ReadonlySet<string> = new Set([
  ..."CONNECTION_CLOSED CONNECTION_DESTROYED CONNECTION_ENDED CONNECT_TIMEOUT".split(" "),
  ..."ECONNREFUSED ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOTFOUND EAI_AGAIN".split(
    " ",
  ),
  ..."ECONNABORTED ENETDOWN EHOSTDOWN ERR_SOCKET_CLOSED ERR_STREAM_DESTROYED".split(" "),
  ..."FailedToOpenSocket ConnectionRefused ERR_SOCKET_CONNECTION_TIMEOUT EMFILE".split(" "),
  "25006", // read only: a standby that is about to take over
  "55P03", // lock not available
]);

/** Another transaction was in the way: the same once more may well succeed. */
export function isInTheWay(error: unknown): boolean {
  return AGAIN.has(codeOf(error));
}

/** The connection is gone, or will be at once. */
export function isLost(error: unknown): boolean {
  const code = codeOf(error);
  return AWAY_CODES.has(code) || code.startsWith("08") || code.startsWith("57P");
}

/** @param place for people, without a password. */
export function storeError(place: string, error: unknown): unknown {
  if (error instanceof StoreAwayError || error instanceof StoreRefusedError) return error;
  const code = codeOf(error);
  const reason = error instanceof Error ? error.message : String(error);
  if (AWAY_CODES.has(code) || AWAY_CLASSES.has(code.slice(0, 2)) || isInTheWay(error)) {
    return new StoreAwayError(`PostgreSQL at ${place} is away: ${reason}`, { cause: error });
  }
  const hint = HINTS[code];
  if (code !== "") {
    return new StoreRefusedError(
      `PostgreSQL at ${place} refuses: ${reason}${hint === undefined ? "" : `. ${hint}`}`,
      { cause: error },
    );
  }
  return error;
}

const HINTS: Readonly<Record<string, string>> = {
  [NEWER_FORMAT]: "Run that version, or name another database with --store",
  "28P01": "Check the user and the password in --store",
  "28000": "Check the user in --store, and the server's pg_hba.conf",
  "3D000": "Make the database, or name another one in --store",
  "42501":
    "The user needs the right to make a schema in this database, or to use the one that is there",
};

/** SQLSTATE, or the client's or the system's name; "" where there is none. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}
