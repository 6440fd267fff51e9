/** What a PostgreSQL URL says, in the words of the client library; the password goes nowhere else. */
import { readFileSync } from "node:fs";
import { StoreRefusedError } from "../errors.ts";

/** libpq's modes: https://www.postgresql.org/docs/current/libpq-ssl.html */
const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type SslMode = typeof SSL_MODES[number];

export interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string;
  readonly checkServerIdentity?: () => undefined;
}

export interface PostgresAddress {
  /** For the client library: without what it would take for a server's setting. */
  readonly url: string;
  readonly tls: false | "prefer" | TlsOptions;
  /** For people: without password and settings. */
  readonly place: string;
}

/**
 * Reads a URL such as `postgres://user:password@host:5432/database?sslmode=verify-full`. TLS is used
 * where the server has it unless `sslmode` says otherwise; `sslrootcert` names a file, or "system".
 * @throws StoreRefusedError saying what cannot be read, without the password.
 */
export function readAddress(text: string): PostgresAddress {
  const fail = (reason: string) =>
    new StoreRefusedError(
      `Cannot read the PostgreSQL URL: ${reason}. Write it as ` +
        "postgres://user:password@host:5432/database?sslmode=verify-full",
    );
  if (!URL.canParse(text)) throw fail("it is no URL");
  const url = new URL(text);
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw fail(`its scheme is "${url.protocol.slice(0, -1)}"`);
  }
  if (url.hostname === "") throw fail("it names no host");
  for (const part of [url.username, url.password, url.pathname]) {
    if (!isDecodable(part)) throw fail('a "%" in it is not part of an escape such as "%40"');
  }
  const mode = url.searchParams.get("sslmode") ?? "prefer";
  if (!isMode(mode)) throw fail(`its sslmode is "${mode}" and not one of ${SSL_MODES.join(", ")}`);
  const rootCert = url.searchParams.get("sslrootcert") ?? undefined;
  for (const name of ["sslmode", "sslrootcert"]) url.searchParams.delete(name);
  const user = url.username === "" ? "" : `${url.username}@`;
  return {
    url: url.href,
    tls: tlsOf(mode, rootCert, fail),
    place: `${url.protocol}//${user}${url.host}${url.pathname}`,
  };
}

function tlsOf(
  mode: SslMode,
  rootCert: string | undefined,
  fail: (reason: string) => StoreRefusedError,
): PostgresAddress["tls"] {
  switch (mode) {
    case "disable":
      return false;
    case "allow":
    case "prefer":
      return "prefer";
    case "require":
      // As libpq does: who names an authority wants it asked.
      return rootCert === undefined
        ? { rejectUnauthorized: false }
        : { ...verified(rootCert, fail), checkServerIdentity: () => undefined };
    case "verify-ca":
      return { ...verified(rootCert, fail), checkServerIdentity: () => undefined };
    case "verify-full":
      return verified(rootCert, fail);
  }
}

function verified(
  rootCert: string | undefined,
  fail: (reason: string) => StoreRefusedError,
): TlsOptions {
  if (rootCert === undefined || rootCert === "system") return { rejectUnauthorized: true };
  try {
    return { rejectUnauthorized: true, ca: readFileSync(rootCert, "utf8") };
  } catch (error) {
    throw fail(`its sslrootcert cannot be read (${String(error)})`);
  }
}

function isMode(text: string): text is SslMode {
  return (SSL_MODES as readonly string[]).includes(text);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch (error) {
    if (error instanceof URIError) return false;
    throw error;
  }
}
