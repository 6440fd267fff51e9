/** Who may come in: one look at each request before a route sees it. */
import { hostJudge, originProblem } from "./origins.ts";
import type { Problem } from "./problems.ts";
import { tokenJudge, type TokenOptions } from "./tokens.ts";

export interface GuardOptions extends TokenOptions {
  /** What the front listens on. */
  readonly host: string;
}

/** Why a request may not come in, or undefined. */
export type Guard = (request: Request) => Problem | undefined;

/**
 * A browser's WebSocket can send no header field of its own but the subprotocols that it offers: the
 * token comes as one of them, in base64url because theirs is a small alphabet.
 */
const SOCKET_TOKEN = /(?:^|,)\s*coxswain\.bearer\.([\w-]+)\s*(?:,|$)/;

function socketToken(headers: Headers): string | null {
  if (headers.get("upgrade")?.toLowerCase() !== "websocket") return null;
  const token = SOCKET_TOKEN.exec(headers.get("sec-websocket-protocol") ?? "")?.[1];
  return token === undefined ? null : `Bearer ${Buffer.from(token, "base64url").toString()}`;
}

const READING: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

export function createGuard(options: GuardOptions): Guard {
  const judgeToken = tokenJudge(options);
  const judgeHost = judgeToken === undefined ? hostJudge(options.host) : undefined;
  return ({ method, headers }) => {
    const isRead = READING.has(method);
    const refusal = judgeToken?.(headers.get("authorization") ?? socketToken(headers), isRead) ??
      judgeHost?.(headers.get("host"));
    if (refusal !== undefined) return refusal;
    if (!isRead || headers.has("upgrade")) return originProblem(headers);
    // No route reads such a body, and the server would keep all of it while an answer takes its time.
    return headers.has("transfer-encoding") || (headers.get("content-length") ?? "0") !== "0"
      ? { name: "bad-request", detail: `A ${method} request takes no body` }
      : undefined;
  };
}
