/** The broker's section: embedded or AMQP, from a URL or from its parts. */
import { resolve } from "node:path";
import type { AmqpBrokerConfig, BrokerConfig, TlsConfig } from "./config.ts";
import type { Draft } from "./draft.ts";
import { flagOf } from "./setting.ts";
import type { SettingKey } from "./settings.ts";
import type { Surroundings } from "./surroundings.ts";
import { readPem } from "./tls_section.ts";

const DEFAULT_URL = "amqp://localhost:5672";
const URL_PARTS = ["mqHost", "mqPort", "mqUser", "mqPassword", "mqVhost"] as const;
const TLS_FILES = ["amqpCa", "amqpCert", "amqpKey"] as const;
const CONNECT_TIMEOUT_MS = 30_000;
/** Celery's default queue, which each of its clients declares again. */
const CELERY_QUEUES = ["celery"];

/** A flag, a variable or the file says which RabbitMQ to use. */
export function isBrokerNamed(draft: Draft): boolean {
  return draft.given.has("amqpUrl") || URL_PARTS.some((key) => draft.given.has(key));
}

/** The RabbitMQ that was named, or else the broker inside the program. */
export function brokerSection(draft: Draft, { cwd }: Surroundings): BrokerConfig {
  if (isBrokerNamed(draft)) return amqpSection(draft);
  const tls = TLS_FILES.filter((key) => draft.given.has(key));
  if (tls.length > 0) {
    draft.refuse(tls, `${named(tls)} without --amqp-url: which broker is meant?`);
  }
  if (draft.values.queueType === "quorum") {
    draft.refuse(
      ["queueType"],
      "the broker inside the program has no quorum queues: name a RabbitMQ with --amqp-url",
    );
  }
  return { kind: "embedded", dataDir: resolve(cwd, draft.values.data) };
}

/** The RabbitMQ that was named, or the one on this machine. */
export function amqpSection(draft: Draft, connectTimeoutMs = CONNECT_TIMEOUT_MS): AmqpBrokerConfig {
  const { values } = draft;
  const url = brokerUrl(draft);
  const tls = tlsSection(draft, url);
  return {
    kind: "amqp",
    url,
    ...(tls === undefined ? {} : { tls }),
    queueType: values.queueType,
    plainQueues: [...new Set(values.plainQueues ?? CELERY_QUEUES)],
    connectTimeoutMs: values.connectTimeout ?? connectTimeoutMs,
  };
}

function brokerUrl(draft: Draft): string {
  const { values: { amqpUrl, mqHost, mqPort, mqUser, mqPassword, mqVhost }, given } = draft;
  const parts = URL_PARTS.filter((key) => given.has(key));
  if (given.has("amqpUrl") && parts.length > 0) {
    draft.refuse(
      ["amqpUrl", ...parts],
      `--amqp-url and ${named(parts)} both say which broker to use: give one of the two ways`,
    );
  }
  if (given.has("amqpUrl") || parts.length === 0) return amqpUrl ?? DEFAULT_URL;
  if (mqPassword !== undefined && mqUser === undefined) {
    draft.refuse(["mqPassword", "mqUser"], "--mq-password needs --mq-user: whose password is it?");
  }
  const user = mqUser === undefined ? "" : [mqUser, mqPassword]
    .filter((part) => part !== undefined)
    .map(encoded)
    .join(":") + "@";
  const host = bracketed(mqHost ?? "localhost");
  const vhost = mqVhost === undefined ? "" : `/${encoded(mqVhost)}`;
  return `amqp://${user}${host}:${mqPort ?? 5672}${vhost}`;
}

/** A file of settings may hold half of a character, which no URL can. */
function encoded(part: string): string {
  return encodeURIComponent(part.toWellFormed());
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

function tlsSection(draft: Draft, url: string): TlsConfig | undefined {
  const { values: { amqpCa, amqpCert, amqpKey }, given } = draft;
  const files = TLS_FILES.filter((key) => given.has(key));
  if (files.length === 0) return undefined;
  if (!url.startsWith("amqps:")) {
    draft.refuse(["amqpUrl", ...files], `${named(files)} needs an --amqp-url of amqps://`);
  }
  if (given.has("amqpCert") !== given.has("amqpKey")) {
    draft.refuse(["amqpCert", "amqpKey"], "--amqp-cert and --amqp-key need each other");
  }
  const ca = readPem(draft, "amqpCa", amqpCa);
  const cert = readPem(draft, "amqpCert", amqpCert);
  const key = readPem(draft, "amqpKey", amqpKey);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function named(keys: readonly SettingKey[]): string {
  return keys.map(flagOf).join(", ");
}
