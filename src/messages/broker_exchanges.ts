/** Exchanges of the application's on a broker. */
import type { Broker, ExchangeSpec } from "../broker/broker.ts";
import {
  BrokerAwayError,
  DeclarationError,
  PublishRefusedError,
  UnknownExchangeError,
} from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { problemOfExchange, problemOfKey } from "../reserved_names.ts";
import type {
  DeclareEnding,
  Exchanges,
  ExchangeType,
  OutgoingMessage,
  PublishEnding,
  PublishSettings,
} from "./exchanges.ts";

export class BrokerExchanges implements Exchanges {
  readonly #broker: Broker;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  async publish(
    message: OutgoingMessage,
    { isAwaited, patienceMs = 0 }: PublishSettings,
  ): Promise<PublishEnding> {
    const badName = badNameOf(message.exchange) ?? badKeyOf(message.key);
    if (badName !== undefined) return badName;
    try {
      const options = isAwaited ? { confirm: true, mandatory: true } : {};
      const result = await publishPatiently(this.#broker, plain(message), options, patienceMs);
      return isAwaited
        ? { kind: "published", isRouted: result !== "returned" }
        : { kind: "published" };
    } catch (error) {
      if (error instanceof UnknownExchangeError) {
        return {
          kind: "unknown_exchange",
          message:
            `There is no exchange "${message.exchange}": declare it with its type first, or ` +
            'name it under "exchanges" in coxswain.json',
        };
      }
      if (error instanceof PublishRefusedError) return { kind: "refused", message: error.message };
      if (error instanceof BrokerAwayError) return { kind: "broker_away", message: error.message };
      throw error;
    }
  }

  async declare(name: string, type: ExchangeType, isDurable: boolean): Promise<DeclareEnding> {
    const badName = badNameOf(name);
    if (badName !== undefined) return badName;
    try {
      await this.#broker.declareExchange({ name, type, durable: isDurable });
      return { kind: "declared" };
    } catch (error) {
      if (error instanceof DeclarationError) return { kind: "mismatch", message: error.message };
      if (error instanceof BrokerAwayError) return { kind: "broker_away", message: error.message };
      throw error;
    }
  }
}

/**
 * Declares the configured exchanges, all of them whatever becomes of one.
 * @throws DeclarationError naming each that cannot be declared, BrokerAwayError.
 */
export async function declareConfigured(
  broker: Broker,
  exchanges: readonly ExchangeSpec[],
): Promise<void> {
  const problems: string[] = [];
  for (const spec of exchanges) {
    try {
      await broker.declareExchange(spec);
    } catch (error) {
      if (!(error instanceof DeclarationError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length === 0) return;
  throw new DeclarationError(
    `${problems.join("\n")}\nAn exchange keeps its type: give it another name, or delete the one ` +
      "that is there",
  );
}

function badNameOf(name: string): { kind: "bad_name"; message: string } | undefined {
  const problem = problemOfExchange(name);
  return problem === undefined ? undefined : {
    kind: "bad_name",
    message: `An exchange's name ${problem}; this one is ${JSON.stringify(name.slice(0, 300))}`,
  };
}

function badKeyOf(key: string): { kind: "bad_name"; message: string } | undefined {
  const problem = problemOfKey(key);
  return problem === undefined
    ? undefined
    : { kind: "bad_name", message: `A routing key ${problem}` };
}

function plain(
  { exchange, key, body, contentType, headers, persistent }: OutgoingMessage,
): Message {
  return {
    exchange,
    routingKey: key,
    body,
    properties: {
      contentType,
      persistent,
      ...(Object.keys(headers).length === 0 ? {} : { headers }),
    },
  };
}
