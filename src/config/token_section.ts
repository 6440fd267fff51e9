/** Tokens: given themselves or as files, and when a front must have one. */
import type { Draft } from "./draft.ts";
import { flagOf } from "./setting.ts";
import { token as tokenReader } from "./settings/rows.ts";

export interface Tokens {
  readonly token?: string;
  readonly readToken?: string;
}

/** The token that an operator's command sends. */
export function tokenToSend(draft: Draft): Pick<Tokens, "token"> {
  const { values } = draft;
  const token = oneToken(draft, "token", "tokenFile", values.token, values.tokenFile);
  return token === undefined ? {} : { token };
}

/** The tokens that a front asks for. */
export function frontTokens(draft: Draft): Tokens {
  const { token } = tokenToSend(draft);
  const { values } = draft;
  const readToken = oneToken(
    draft,
    "readToken",
    "readTokenFile",
    values.readToken,
    values.readTokenFile,
  );
  if (readToken === undefined) return token === undefined ? {} : { token };
  if (token === undefined) {
    draft.refuse(
      ["readToken", "readTokenFile", "token", "tokenFile"],
      "--read-token without --token would leave everything but reading open: give both",
    );
  } else if (token === readToken) {
    draft.refuse(["readToken", "token"], "--read-token and --token must not be the same");
  }
  return { ...(token === undefined ? {} : { token }), readToken };
}

const RANK = { flag: 2, variable: 1, file: 0 } as const;

function oneToken(
  draft: Draft,
  key: "token" | "readToken",
  fileKey: "tokenFile" | "readTokenFile",
  token: string | undefined,
  path: string | undefined,
): string | undefined {
  const direct = draft.given.get(key);
  const byFile = draft.given.get(fileKey);
  if (direct !== undefined && byFile !== undefined) {
    const lead = RANK[direct.origin.kind] - RANK[byFile.origin.kind];
    if (lead > 0) return token;
    if (lead === 0) {
      draft.refuse([key, fileKey], `${flagOf(key)} and ${flagOf(fileKey)}: give one of the two`);
      return token;
    }
  }
  if (byFile === undefined) return token;
  const content = draft.readFile(fileKey, path)?.trim();
  if (content === undefined) return undefined;
  const read = tokenReader.read(content);
  if (read === undefined) {
    draft.refuseValue(fileKey, path, `expected a file that holds ${tokenReader.expected}`);
  }
  return read;
}
