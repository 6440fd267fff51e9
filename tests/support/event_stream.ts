/** A client of event streams that shows what it was sent, message by message. */

export interface StreamedEvent {
  /** "message" unless the stream names another. */
  readonly event: string;
  readonly id: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

export class EventStream implements AsyncDisposable {
  readonly events: StreamedEvent[] = [];
  readonly #gone = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #ended: Promise<void>;
  /** The stream has ended, by its own account or because it broke. */
  isOver = false;

  private constructor(body: ReadableStream<Uint8Array>, gone: AbortController) {
    this.#gone = gone;
    this.#ended = this.#read(body);
  }

  /** Opens a stream; resolves when the front has answered. */
  static async open(url: string, headers: Readonly<Record<string, string>> = {}) {
    const gone = new AbortController();
    const response = await fetch(url, {
      headers: { accept: "text/event-stream", ...headers },
      signal: gone.signal,
    });
    if (response.status !== 200 || response.body === null) {
      throw new Error(`No stream: ${response.status} ${await response.text()}`);
    }
    return new EventStream(response.body, gone);
  }

  /** Resolves when so many events have come. */
  async come(count: number, limitMs = 15_000): Promise<readonly StreamedEvent[]> {
    const enough = Promise.withResolvers<void>();
    const look = () => {
      if (this.events.length >= count || this.isOver) enough.resolve();
    };
    this.#listeners.add(look);
    look();
    const timer = setTimeout(() => {
      enough.reject(new Error(`${this.events.length} of ${count} events came in ${limitMs} ms`));
    }, limitMs);
    await enough.promise.finally(() => clearTimeout(timer));
    this.#listeners.delete(look);
    return this.events;
  }

  async ended(): Promise<void> {
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort();
    await this.#ended;
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    try {
      for await (const chunk of body) {
        text += decoder.decode(chunk, { stream: true });
        const frames = text.split("\n\n");
        text = frames.pop() ?? "";
        for (const frame of frames) this.#take(frame);
        for (const listener of [...this.#listeners]) listener();
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
    this.isOver = true;
    for (const listener of [...this.#listeners]) listener();
  }

  #take(frame: string): void {
    const fields = new Map(
      frame.split("\n").map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()] as const;
      }),
    );
    const data = fields.get("data");
    if (data === undefined) return;
    this.events.push({
      event: fields.get("event") ?? "message",
      id: fields.get("id"),
      data: JSON.parse(data),
    });
  }
}
