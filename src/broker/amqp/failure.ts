/**
 * What the broker, the network or TLS said, in words of our own: whether trying again may help, and a
 * sentence for the operator. Errors of the client library go no further than this file, for they
 * carry the whole connection with them.
 */

/** A channel or connection that the broker closed: its reply code (AMQP 0-9-1, section 1.1) and text. */
export interface BrokerReply {
  readonly code: number;
  readonly text: string;
}

export type Failure =
  /** Trying again cannot help until somebody changes something. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "away"; readonly reason: string };

/** AMQP reply codes that the adapter tells apart. */
export const REPLY = {
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
  notAllowed: 530,
} as const;

/**
 * What the client makes of a close: "channel 3 closed: NOT_FOUND - no queue 'x' in vhost '/' (404)",
 * with "Channel 0 closed: " before it where the connection is meant.
 */
const CLOSED = /^(?:Channel 0 closed: )?(?:channel \d+|connection) closed: (.*) \((\d+)\)$/s;

/** OpenSSL's and the runtime's words for a peer that cannot be verified. */
const UNVERIFIED: ReadonlySet<string> = new Set([
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** What the broker said as it closed a channel or the connection; undefined for any other error. */
export function brokerReply(error: unknown): BrokerReply | undefined {
  const match = error instanceof Error ? CLOSED.exec(error.message) : null;
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { code: Number(match[2]), text: match[1] };
}

/** Whether a failed try to connect may go better the next time. */
export function failureOf(error: unknown): Failure {
  const reply = brokerReply(error);
  if (reply !== undefined) return failureOfReply(reply);
  const reason = reasonOf(error);
  const code = codeOf(error);
  if (UNVERIFIED.has(code)) {
    return { kind: "refused", reason: `its certificate cannot be verified: ${reason} (${code})` };
  }
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/i.test(`${code} ${reason}`)) {
    return { kind: "refused", reason: "it speaks no TLS on this port: is amqp:// meant?" };
  }
  if (code.startsWith("ERR_SSL_") || code.startsWith("ERR_OSSL_")) {
    return { kind: "refused", reason: `TLS failed: ${reason} (${code})` };
  }
  return { kind: "away", reason };
}

function failureOfReply({ code, text }: BrokerReply): Failure {
  const isRefusal = code === REPLY.accessRefused || code === REPLY.notAllowed;
  // A full vhost has room again when somebody else leaves.
  const isPassing = /limit .*reached/i.test(text);
  return { kind: isRefusal && !isPassing ? "refused" : "away", reason: text };
}

/** An error's text. The broker's own is what it said, without the client's words around it. */
export function reasonOf(error: unknown): string {
  const reply = brokerReply(error);
  if (reply !== undefined) return reply.text;
  if (!(error instanceof Error)) return String(error);
  return error.message || codeOf(error) || error.name;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}
