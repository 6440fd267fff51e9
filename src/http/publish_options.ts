/** What a query of `POST /exchanges/{exchange}` says, and what its body is. */
import * as v from "valibot";
import { Flag } from "../calls/option_values.ts";
import type { ExchangeType } from "../messages/exchanges.ts";
import { EXCHANGE_TYPES } from "../reserved_names.ts";
import { bad, decodeText, type Read, readJson } from "./body.ts";
import { shortened } from "./problems.ts";

const TYPE = `expected one of ${EXCHANGE_TYPES.join(", ")}`;

const Options = v.object({
  key: v.optional(v.string(), ""),
  persistent: v.optional(Flag, true),
  wait: v.optional(Flag, true),
  type: v.exactOptional(v.picklist(EXCHANGE_TYPES, TYPE)),
  durable: v.optional(Flag, true),
});

const NAMES: readonly string[] = [...Object.keys(Options.entries), "header"];

export interface PublishRequest {
  readonly key: string;
  readonly isPersistent: boolean;
  readonly isAwaited: boolean;
  /** The exchange is declared first. */
  readonly declares?: { readonly type: ExchangeType; readonly isDurable: boolean };
  readonly headers: Readonly<Record<string, string>>;
}

/** Reads `?key=&persistent=&wait=&type=&durable=&header=NAME:VALUE`, the last as often as wanted. */
export function readPublishQuery(url: string): Read<PublishRequest> {
  const { searchParams } = new URL(url, "http://front");
  const given = new Map<string, string>();
  const headers: Record<string, string> = {};
  for (const [name, value] of searchParams) {
    if (!NAMES.includes(name)) {
      return {
        problem: bad(`Unknown option "${shortened(name)}": there are ${NAMES.join(", ")}`),
      };
    }
    if (name === "header") {
      const [, header, content] = /^([^:]+):(.*)$/s.exec(value) ?? [];
      if (header === undefined || content === undefined || header.trim() === "") {
        return {
          problem: bad(`Option "header" is "${shortened(value)}": expected NAME:VALUE`),
        };
      }
      headers[header.trim()] = content.trim();
    } else if (given.has(name)) {
      return { problem: bad(`Option "${name}" is given twice`) };
    } else given.set(name, value);
  }
  const parsed = v.safeParse(Options, Object.fromEntries(given));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const name = v.getDotPath(issue) ?? "";
    const value = shortened(given.get(name) ?? "");
    return { problem: bad(`Option "${name}" is "${value}": ${issue.message}`) };
  }
  const { key, persistent, wait, type, durable } = parsed.output;
  return {
    value: {
      key,
      isPersistent: persistent,
      isAwaited: wait,
      ...(type === undefined ? {} : { declares: { type, isDurable: durable } }),
      headers,
    },
  };
}

/**
 * A message's content type, from its request's: JSON is checked, texts must be UTF-8, and other types
 * are taken at their word. Nothing said, or what forms and curl say by default: JSON where it parses,
 * else text.
 */
export function messageType(contentType: string | null, body: Uint8Array): Read<string> {
  const type = contentType ?? "";
  if (/^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) {
    const text = decodeText(body);
    if ("problem" in text) return text;
    const json = readJson<unknown>(text.value, JSON.parse);
    return "problem" in json ? json : { value: "application/json" };
  }
  const isUnsaid = type === "" || /^application\/x-www-form-urlencoded\b/i.test(type);
  if (!isUnsaid && !/^text\//i.test(type)) return { value: type };
  const text = decodeText(body);
  if ("problem" in text) return text;
  // Whatever its parameters say: it is UTF-8.
  if (!isUnsaid) return { value: type.replace(/\s*;.*$/s, "") };
  return { value: "value" in readJson<unknown>(text.value, JSON.parse) ? JSON_TYPE : "text/plain" };
}

const JSON_TYPE = "application/json";
