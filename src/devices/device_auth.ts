/**
 * Who may call itself what: the tokens of a file, each line `id token`, or `* token` for all ids that
 * have no line of their own. Tokens are kept as digests and compared in constant time.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { problemOfDeviceId } from "./device_id.ts";

/** Stands for every id without a token of its own. */
const ANYBODY = "*";

/** Visible ASCII, as HTTP's tokens. */
const TOKEN = /^[\x21-\x7e]+$/;

export interface DeviceToken {
  readonly id: string;
  readonly token: string;
}

export type ReadTokens =
  | { readonly kind: "tokens"; readonly tokens: readonly DeviceToken[] }
  | { readonly kind: "refused"; readonly problems: readonly string[] };

/** Reads a file of tokens; blank lines and those that begin with `#` say nothing. Names no token. */
export function readDeviceTokens(text: string): ReadTokens {
  const tokens: DeviceToken[] = [];
  const problems: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const words = line.trim();
    if (words === "" || words.startsWith("#")) continue;
    const [id = "", token = "", ...more] = words.split(/[ \t]+/);
    const problem = id === ANYBODY ? undefined : problemOfDeviceId(id);
    if (problem !== undefined) problems.push(`line ${index + 1}: the id ${problem}`);
    else if (more.length > 0 || !TOKEN.test(token)) {
      problems.push(`line ${index + 1}: expected "id token", both of visible ASCII characters`);
    } else tokens.push({ id, token });
  }
  if (problems.length > 0) return { kind: "refused", problems };
  return tokens.length === 0
    ? { kind: "refused", problems: ['there is no line "id token" in it'] }
    : { kind: "tokens", tokens };
}

export type Greeting =
  | { readonly kind: "known"; readonly id: string }
  | { readonly kind: "refused"; readonly why: string };

/** Judges first lines. */
export class DeviceAuth {
  readonly #digests = new Map<string, Uint8Array[]>();

  constructor(tokens: readonly DeviceToken[]) {
    for (const { id, token } of tokens) {
      const digests = this.#digests.get(id);
      if (digests === undefined) this.#digests.set(id, [digestOf(token)]);
      else digests.push(digestOf(token));
    }
  }

  /** @param line `id token`; undefined where it is not UTF-8. */
  judge(line: string | undefined): Greeting {
    const [, id = "", token = ""] = /^[ \t]*(\S+)[ \t]+(\S+)[ \t]*$/.exec(line ?? "") ?? [];
    if (id === "" || problemOfDeviceId(id) !== undefined || id === ANYBODY) {
      return { kind: "refused", why: 'the first line must be "id token"' };
    }
    const own = this.#digests.get(id);
    const given = digestOf(token);
    // All are compared, so that time tells nothing of which it was.
    let isRight = false;
    for (const digest of own ?? this.#digests.get(ANYBODY) ?? []) {
      if (timingSafeEqual(digest, given)) isRight = true;
    }
    return isRight
      ? { kind: "known", id }
      : { kind: "refused", why: "the id or its token is not right" };
  }
}

function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}
