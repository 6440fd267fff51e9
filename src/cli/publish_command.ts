/** `app publish`: one message to an exchange, or to a channel. */
import type { PublishConfig } from "../config/config.ts";
import { EXIT } from "./exit_code.ts";
import type { Output } from "./output.ts";

/** A message as it is published. */
export interface PublishedMessage {
  readonly text: string;
  readonly contentType: "application/json" | "text/plain";
}

/** Who takes a message: a front, or a broker that is asked directly. */
export interface MessageSink {
  /** Tells what became of it, as JSON text. @throws StartupError saying why it was not taken. */
  publishToExchange(
    exchange: string,
    message: PublishedMessage,
    options: PublishConfig["options"],
  ): Promise<string>;
  publishToChannel(channel: string, message: PublishedMessage): Promise<string>;
}

/**
 * @param channel where no exchange is named.
 * @param readStdin all of standard input; asked for only where the message is "-".
 * @throws StartupError when it is not taken.
 */
export async function runPublish(
  config: PublishConfig,
  { channel = "", message }: { readonly channel?: string; readonly message: string },
  sink: MessageSink,
  output: Output,
  readStdin: () => Promise<string>,
): Promise<number> {
  const published = messageOf(message === "-" ? await readStdin() : message);
  const { exchange } = config;
  const text = exchange === undefined
    ? await sink.publishToChannel(channel, published)
    : await sink.publishToExchange(exchange, published, config.options);
  if (config.json) output.print(`${text.trim()}\n`);
  else if (exchange !== undefined && isUnrouted(text)) {
    output.printError(`Exchange "${exchange}" took it, and no queue wanted it.\n`);
  }
  return EXIT.well;
}

/** JSON where it is JSON, else text. */
function messageOf(text: string): PublishedMessage {
  try {
    JSON.parse(text);
    return { text, contentType: "application/json" };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { text, contentType: "text/plain" };
  }
}

function isUnrouted(text: string): boolean {
  const answer: unknown = JSON.parse(text);
  return typeof answer === "object" && answer !== null && "isRouted" in answer &&
    answer.isRouted === false;
}
