/** Messages captured between a real Celery 5.2.6 and RabbitMQ 3.10, as deliveries. */
import { readFileSync } from "node:fs";
import type { Delivery, HeaderValue } from "../../src/broker/message.ts";
import { deliveryOf } from "./deliveries.ts";

export interface Captured {
  readonly scenario: string;
  readonly delivery: Delivery;
  readonly headers: Readonly<Record<string, HeaderValue>>;
}

interface Row {
  scenario: string;
  properties: Record<string, string | number>;
  headers: Record<string, HeaderValue>;
  bodyEncoding: string;
  body: string;
  routingKey: string;
}

/** All captured messages of one kind, in the order of their scenarios. */
export function captured(kind: "task" | "result"): readonly Captured[] {
  const { pathname: file } = new URL(`../fixtures/celery/${kind}_messages.json`, import.meta.url);
  const rows: Row[] = JSON.parse(readFileSync(file, "utf8"));
  return rows.map(({ scenario, properties, headers, bodyEncoding, body, routingKey }) => ({
    scenario,
    headers,
    delivery: deliveryOf({
      exchange: "",
      routingKey,
      body: Buffer.from(body, bodyEncoding === "base64" ? "base64" : "utf8"),
      properties: {
        headers,
        contentType: String(properties.content_type),
        contentEncoding: String(properties.content_encoding),
        persistent: properties.delivery_mode === 2,
        priority: Number(properties.priority ?? 0),
        ...(properties.correlation_id === undefined
          ? {}
          : { correlationId: String(properties.correlation_id) }),
        ...(properties.reply_to === undefined ? {} : { replyTo: String(properties.reply_to) }),
      },
    }),
  }));
}
