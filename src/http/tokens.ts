/** Bearer tokens (RFC 6750): who may control, who may only read. */
import { hash, timingSafeEqual } from "node:crypto";
import type { Problem } from "./problems.ts";

export interface TokenOptions {
  /** Who sends it may do everything. */
  readonly token?: string;
  /** Who sends it may read. Without `token` nobody may do more. */
  readonly readToken?: string;
}

export type TokenJudge = (authorization: string | null, isRead: boolean) => Problem | undefined;

const BEARER = /^bearer +(\S+) *$/i;

/**
 * Judges `authorization` fields. Tokens are compared by their digests in constant time, so that the
 * time of an answer tells nothing of them, not even their length.
 * @returns undefined where no token is set: everybody may do everything.
 */
export function tokenJudge({ token, readToken }: TokenOptions): TokenJudge | undefined {
  if (token === undefined && readToken === undefined) return undefined;
  const control = token === undefined ? undefined : digest(token);
  const read = readToken === undefined ? undefined : digest(readToken);
  return (authorization, isRead) => {
    if (authorization === null) {
      return unauthorized("Send the token as `Authorization: Bearer …`", "");
    }
    const given = BEARER.exec(authorization)?.[1];
    if (given === undefined) {
      return unauthorized(
        "The authorization is not `Bearer` and a token",
        ', error="invalid_request"',
      );
    }
    const sent = digest(given);
    if (control !== undefined && timingSafeEqual(sent, control)) return undefined;
    if (read === undefined || !timingSafeEqual(sent, read)) {
      return unauthorized("The token is not the right one", ', error="invalid_token"');
    }
    return isRead ? undefined : {
      name: "forbidden",
      detail: "This token may only read",
      headers: { "www-authenticate": `${CHALLENGE}, error="insufficient_scope"` },
    };
  };
}

const CHALLENGE = 'Bearer realm="coxswain"';

function unauthorized(detail: string, parameters: string): Problem {
  return {
    name: "unauthorized",
    detail,
    headers: { "www-authenticate": `${CHALLENGE}${parameters}` },
  };
}

function digest(token: string): Uint8Array {
  return hash("sha256", token, "buffer");
}
