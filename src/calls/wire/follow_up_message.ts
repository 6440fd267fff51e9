/** A request that follows from another as a message, as Celery's own worker writes it. */
import type { Message, MessageProperties } from "../../broker/message.ts";
import type { FollowUp } from "./canvas.ts";
import { compress } from "./compression.ts";
import { COMPRESS_OVER_BYTES, COX, JSON_TYPE, wireInstant, ZLIB } from "./names.ts";
import type { SignatureOptions } from "./signature.ts";

const encoder = new TextEncoder();

/**
 * The message of a follow-up.
 * @param queue where it goes that names neither a queue nor an exchange.
 * @param now epoch milliseconds, which countdowns are counted from.
 */
export async function followUpMessage(
  request: FollowUp,
  { queue, origin, now }: { readonly queue: string; readonly origin: string; readonly now: number },
): Promise<Message> {
  const { id, task, argsJson, kwargsJson, callbacks, errbacks, chain, options } = request;
  const embed = JSON.stringify({
    callbacks: callbacks.length === 0 ? null : callbacks,
    errbacks: errbacks.length === 0 ? null : errbacks,
    chain: chain.length === 0 ? null : chain,
    chord: null,
  });
  const body = encoder.encode(`[${argsJson},${kwargsJson},${embed}]`);
  const isLarge = body.length > COMPRESS_OVER_BYTES;
  const { expires, countdownSeconds, hardSeconds = null, softSeconds = null } = options;
  const properties: MessageProperties = {
    contentType: JSON_TYPE,
    contentEncoding: "utf-8",
    correlationId: id,
    persistent: true,
    ...(options.replyTo === undefined ? {} : { replyTo: options.replyTo }),
    ...(options.priority === undefined ? {} : { priority: clampPriority(options.priority) }),
    headers: {
      ...options.headers,
      lang: "js",
      task,
      id,
      shadow: options.shadow ?? null,
      eta: options.eta ??
        (countdownSeconds ? wireInstant(now + Math.round(countdownSeconds * 1000)) : null),
      expires: typeof expires === "number"
        ? wireInstant(now + Math.round(expires * 1000))
        : expires ?? null,
      group: request.groupId ?? null,
      group_index: null,
      retries: 0,
      timelimit: [hardSeconds, softSeconds],
      root_id: request.rootId,
      parent_id: request.parentId,
      origin,
      ignore_result: options.ignoreResult ?? false,
      [COX.from]: "celery",
      ...(isLarge ? { compression: ZLIB } : {}),
    },
  };
  return {
    ...destination(options, queue),
    properties,
    body: isLarge ? await compress(body) : body,
  };
}

/** Celery goes by the routing key only where the exchange is said too. */
function destination(
  { queue, exchange, routingKey = "" }: SignatureOptions,
  otherwise: string,
): Pick<Message, "exchange" | "routingKey"> {
  if (queue !== undefined) return { exchange: "", routingKey: queue };
  if (exchange !== undefined) return { exchange, routingKey };
  return { exchange: "", routingKey: otherwise };
}

function clampPriority(priority: number): number {
  return Math.max(0, Math.min(255, Math.round(priority)));
}
