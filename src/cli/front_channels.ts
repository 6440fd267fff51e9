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

export class FrontChannels implements ChannelSource {
  readonly #front: Pick<FrontClient, "openStream">;
  readonly #silenceMs: number;

  /** @param silenceMs after this the front is taken for dead. */
  constructor(front: Pick<FrontClient, "openStream">, silenceMs = SILENCE_MS) {
    this.#front = front;
    this.#silenceMs = silenceMs;
  }

  /** @throws StartupError when the front cannot be asked at first, or refuses. */
  async *subscribe(
    pattern: string,
    { after, signal }: SubscribeOptions,
  ): AsyncGenerator<string, void, undefined> {
    const backoff = new Backoff(BACKOFF);
    const path = `/channels/${encodeURIComponent(pattern)}`;
    let lastId = after;
    let wasThere = false;
    while (!signal.aborted) {
      try {
        const body = await this.#front.openStream(path, lastId, signal);
        wasThere = true;
        backoff.reset();
        for await (const event of readEventStream(watched(body, this.#silenceMs))) {
          if (event.id !== "") lastId = event.id;
          if (event.data !== undefined) yield event.data;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!wasThere || !isOfTheConnection(error)) throw error;
        log.debug("The stream broke: {error}", { error });
      }
      if (signal.aborted) return;
      const pauseMs = backoff.next();
      log.warn("The front's stream ended; asking again in {pauseMs} ms", {
        pauseMs: Math.round(pauseMs),
      });
      await sleep(pauseMs, undefined, { signal }).catch((error: unknown) => {
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
