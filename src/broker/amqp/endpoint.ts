/** Where RabbitMQ is and who we are there, read from an AMQP URL. Never shown with the password. */

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  readonly vhost: string;
  readonly username: string;
  readonly password: string;
  /** The URL without user and password, for logs and error messages. */
  readonly label: string;
}

const PORTS: Readonly<Record<string, number>> = { "amqp:": 5672, "amqps:": 5671 };

/**
 * Reads `amqp://user:password@host:port/vhost` (https://www.rabbitmq.com/docs/uri-spec). The vhost is
 * percent-encoded; none means "/". Query parameters are ignored.
 * @throws RangeError when it is no AMQP URL. The message does not repeat the URL.
 */
export function parseEndpoint(url: string): Endpoint {
  if (!URL.canParse(url)) throw new RangeError("Cannot use the AMQP URL: it is no URL");
  const parsed = new URL(url);
  const defaultPort = PORTS[parsed.protocol];
  if (defaultPort === undefined) {
    throw new RangeError(
      `Cannot use the AMQP URL: it begins with "${parsed.protocol}", needed is amqp: or amqps:`,
    );
  }
  const host = parsed.hostname === "" ? "localhost" : decode(parsed.hostname, "host");
  const port = parsed.port === "" ? defaultPort : Number(parsed.port);
  return {
    host: host.replace(/^\[(.*)\]$/, "$1"),
    port,
    isTls: parsed.protocol === "amqps:",
    vhost: decode(parsed.pathname.slice(1), "vhost") || "/",
    username: decode(parsed.username, "user") || "guest",
    password: decode(parsed.password, "password") || "guest",
    label: `${parsed.protocol}//${host}:${port}${parsed.pathname}`,
  };
}

function decode(part: string, what: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new RangeError(`Cannot use the AMQP URL: a "%" in its ${what} must be written as "%25"`);
  }
}
