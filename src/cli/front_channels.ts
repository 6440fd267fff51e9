/** Channels of a front as `app subscribe` sees them: an event stream that is opened again when it ends. */
import { setTimeout as sleep } from "node:timers/promises";
import { getLogger } from "@logtape/logtape";
import { Backoff } from "../async/backoff.ts";
import { readEventStream } from "./event_stream.ts";
import { EXIT } from "./exit_code.ts";
import type { FrontClient } from "./front_client.ts";
import { StartupError } from "./startup_error.ts";
import type { ChannelSource, SubscribeOptions } from "./subscribe_command.ts";

const log = getLogger(["coxswain", "cli"]);

/** A front says each 15 s that it is there. */
const SILENCE_MS = 50_000;
const BACKOFF = { baseMs: 500, capMs: 10_000 };

export interface FrontChannelsOptions {
  /** Tells the operator that the front went away, or is back. */
  readonly tell: (text: string) => void;
  /** After this the front is taken for dead. */
  readonly silenceMs?: number;
}

export class FrontChannels implements ChannelSource {
  readonly #front: Pick<FrontClient, "openStream">;
  readonly #options: FrontChannelsOptions;

  constructor(front: Pick<FrontClient, "openStream">, options: FrontChannelsOptions) {
    this.#front = front;
    this.#options = options;
  }

  /** @throws StartupError when the front cannot be asked at first, or refuses. */
  async *subscribe(
    pattern: string,
    { after, signal }: SubscribeOptions,
  ): AsyncGenerator<string, void, undefined> {
    const { tell, silenceMs = SILENCE_MS } = this.#options;
    const backoff = new Backoff(BACKOFF);
    const path = `/channels/${encodeURIComponent(pattern)}`;
    let lastId = after;
    let wasThere = false;
    let isAway = false;
    while (!signal.aborted) {
      try {
        const body = await this.#front.openStream(path, lastId, signal);
        if (isAway) tell("The front is back.");
        wasThere = true;
        isAway = false;
        for await (const event of readEventStream(watched(body, silenceMs))) {
          // Not before: a front may let in, and close at once, again and again.
          backoff.reset();
          if (event.id !== "") lastId = event.id;
          if (event.data !== undefined) yield event.data;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!wasThere || !isOfTheConnection(error)) throw error;
        log.debug("The stream broke: {error}", { error });
      }
      if (signal.aborted) return;
      if (!isAway) tell("The front went away; it is asked again until it is back.");
      isAway = true;
      await sleep(backoff.next(), undefined, { signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
  }
}

/** A stream that says nothing any more, though it is open. */
class SilentStreamError extends Error {
  override readonly name = "SilentStreamError";
}

function isOfTheConnection(error: unknown): boolean {
  if (error instanceof StartupError) return error.exitCode === EXIT.noBroker;
  return error instanceof SilentStreamError || (error instanceof Error && "code" in error);
}

/** The same chunks; it throws when none comes for too long. Leaving it cancels the stream. */
async function* watched(
  body: ReadableStream<Uint8Array>,
  silenceMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body.getReader();
  try {
    while (true) {
      const silent = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => silent.reject(new SilentStreamError(`Nothing came for ${silenceMs} ms`)),
        silenceMs,
      );
      const { done, value } = await Promise.race([reader.read(), silent.promise])
        .finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    // A stream that broke cannot be cancelled, and need not be.
    await reader.cancel().catch((error: unknown) => log.debug("Left a stream: {error}", { error }));
  }
}
