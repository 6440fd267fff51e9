/**
 * One connection to RabbitMQ: the client with its edges taken off. It gathers what is sent, contains
 * every exception of reading, watches for silence, and ends once, with a reason. Getting another one
 * after that is link.ts's work.
 */
import { type AMQPChannel, AMQPClient } from "@cloudamqp/amqp-client";
import type { AMQPView } from "@cloudamqp/amqp-client/amqp-view";
import type { NonSharedBuffer } from "node:buffer";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Endpoint } from "./endpoint.ts";
import { reasonOf } from "./failure.ts";
import { Outbox } from "./outbox.ts";
import { Watchdog } from "./watchdog.ts";

/** PEM texts. */
export interface TlsTexts {
  /** Certificate authorities to trust instead of the runtime's list. */
  readonly ca?: string;
  /** Our own certificate; always with `key`. */
  readonly cert?: string;
  readonly key?: string;
}

export interface ConnectionOptions {
  readonly endpoint: Endpoint;
  readonly tls?: TlsTexts | undefined;
  /** Shown in RabbitMQ's list of connections. */
  readonly name: string;
  readonly heartbeatMs: number;
  readonly frameMaxBytes: number;
  readonly clock: Clock;
}

/** How long a farewell may take. */
const CLOSE_LIMIT_MS = 2_000;
/** Type, channel and size before, the end mark after. */
const MIN_FRAME_BYTES = 8;
const HEARTBEAT_FRAME = Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0xce);
/** First bytes of a connection.tune-ok frame after its size: class 10, method 31. */
const TUNE_OK = [0, 10, 0, 31] as const;
const SENT: Promise<void> = Promise.resolve();

/** Single use: made, opened, lost or closed. */
export class Connection extends AMQPClient {
  readonly outbox: Outbox;
  /** Resolves once, when the connection is no more, with why. */
  readonly lost: Promise<string>;
  readonly #clock: Clock;
  readonly #asked: { readonly heartbeatSeconds: number; readonly frameMaxBytes: number };
  readonly #resolveLost: (reason: string) => void;
  readonly #lossListeners = new Set<(error: Error) => void>();
  #watchdog: Watchdog | undefined;
  /** The first thing that went wrong; what follows from it is not told. */
  #fault: unknown;
  /** The broker or the socket has said that it ends. */
  #isDoomed = false;
  #isLost = false;

  constructor({ endpoint, tls, name, heartbeatMs, frameMaxBytes, clock }: ConnectionOptions) {
    const heartbeatSeconds = Math.max(1, Math.ceil(heartbeatMs / 1_000));
    super(clientUrl(endpoint, { name, heartbeatSeconds, frameMaxBytes }), tls);
    // The client leaves the brackets of an IPv6 address on.
    Object.defineProperty(this, "host", { value: endpoint.host });
    this.#clock = clock;
    this.#asked = { heartbeatSeconds, frameMaxBytes };
    this.onerror = (error) => {
      // Told before the channels are, so that they know that not they are meant.
      this.#isDoomed = true;
      this.#fault ??= error;
    };
    const { promise, resolve } = Promise.withResolvers<string>();
    this.lost = promise;
    this.#resolveLost = resolve;
    this.outbox = new Outbox((chunk, done) => {
      if (this.socket === undefined) return done();
      this.socket.write(chunk, done);
    });
  }

  get isLost(): boolean {
    return this.#isLost || this.#isDoomed;
  }

  /**
   * Connects and greets.
   * @throws what went wrong, as the client or the runtime made it: see `failureOf`.
   */
  async open(limitMs: number, signal: AbortSignal): Promise<void> {
    const late = Promise.withResolvers<never>();
    const give = (error: Error) => {
      this.#fault ??= error;
      late.reject(error);
    };
    const onAbort = () => give(new Error("the start was called off"));
    const timer = this.#clock.after(
      limitMs,
      () => give(new Error(`no answer to the greeting within ${limitMs} ms`)),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      signal.throwIfAborted();
      await Promise.race([this.connect(), late.promise]);
    } catch (error) {
      this.destroy(error);
      throw this.#fault;
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
    this.socket?.setTimeout(0);
    this.#watchdog = new Watchdog({
      heartbeatMs: this.heartbeat * 1_000,
      clock: this.#clock,
      sentBytes: () => this.outbox.totalBytes,
      beat: () => void this.send(HEARTBEAT_FRAME),
      silent: (silentMs) =>
        this.destroy(new Error(`nothing came from the broker for ${Math.round(silentMs)} ms`)),
    });
  }

  /** Ends it at once, with why. Idempotent. */
  destroy(fault: unknown): void {
    this.#fault ??= fault;
    this.socket?.destroy();
    // A socket that never connected tells nothing.
    if (this.socket === undefined || this.socket.destroyed) queueMicrotask(() => this.#end());
  }

  /** Says farewell and ends; after 2 s without an answer it just ends. Idempotent. */
  async farewell(): Promise<void> {
    if (this.#isLost) return;
    this.#fault ??= new Error("closed by us");
    const timer = this.#clock.after(CLOSE_LIMIT_MS, () => this.destroy(undefined));
    // The farewell's own end is the loss of the connection, however it comes about.
    this.close().then(() => this.destroy(undefined), () => this.destroy(undefined));
    await this.lost;
    timer.cancel();
  }

  /**
   * Has the broker answer once, on a channel made for it; a connection on which it does not is ended,
   * unless it is blocked: then the broker reads nothing from it, and owes it no answer.
   * @throws Error when it gave no answer within the limit, or the connection was lost meanwhile.
   */
  async check(limitMs: number): Promise<void> {
    if (this.blocked !== undefined) return;
    const late = Promise.withResolvers<void>();
    const timer = this.#clock.after(limitMs, () => {
      if (this.blocked !== undefined) return late.resolve();
      const error = new Error(`the broker gave no answer to a check within ${limitMs} ms`);
      late.reject(error);
      this.destroy(error);
    });
    const answer = this.openChannel(() => undefined).then((channel) =>
      this.orLost(channel.close())
    );
    try {
      await Promise.race([answer, late.promise]);
    } finally {
      timer.cancel();
    }
  }

  /** A promise of the client's that rejects when the connection is lost, which some never do. */
  orLost<T>(promise: Promise<T>): Promise<T> {
    if (this.isLost) return Promise.race([Promise.reject(this.#lossError()), promise]);
    return new Promise((resolve, reject) => {
      this.#lossListeners.add(reject);
      promise.finally(() => this.#lossListeners.delete(reject)).then(resolve, reject);
    });
  }

  /** Opens a channel that tells its loss by `onClosed`, unless we closed it. */
  async openChannel(onClosed: (error: Error) => void): Promise<AMQPChannel> {
    const channel = await this.orLost(this.channel());
    channel.onerror = (reason) => onClosed(new Error(reason));
    // Closed between its answer and this line.
    if (channel.closed || this.isLost) throw this.#lossError();
    return channel;
  }

  override connect(): ReturnType<AMQPClient["connect"]> {
    const connecting = super.connect();
    const { socket } = this;
    if (socket === undefined) throw new Error("The client made no socket");
    const readers = socket.listeners("data");
    socket.removeAllListeners("data");
    socket.on("data", (chunk: NonSharedBuffer) => {
      this.#watchdog?.received();
      try {
        for (const read of readers) read.call(socket, chunk);
      } catch (error) {
        this.destroy(new Error(`what came from the broker cannot be read: ${reasonOf(error)}`));
      }
    });
    // Before the client's own listeners, which keep an error's text alone and call a loss by less.
    socket.prependListener("error", (error) => {
      this.#fault ??= error;
    });
    socket.prependOnceListener("close", () => this.#end());
    return connecting;
  }

  /** Frames of no size at all, as a negative one comes out, would be read without end. */
  protected override parseFrames(view: AMQPView): void {
    if (view.byteLength < MIN_FRAME_BYTES) throw new RangeError("a frame has a negative size");
    super.parseFrames(view);
  }

  /** Gathers; resolved at once, for a failure shows as the loss of the connection. */
  override send(bytes: Uint8Array): Promise<void> {
    if (this.closed) this.#amendTuneOk(bytes);
    this.outbox.room(bytes.length).set(bytes);
    return SENT;
  }

  protected override closeSocket(): void {
    this.outbox.flush();
    super.closeSocket();
  }

  /** A broker that leaves heartbeat or frame size open (0) gets ours; the client would take the 0. */
  #amendTuneOk(bytes: Uint8Array): void {
    if (bytes.length !== 20 || !TUNE_OK.every((byte, index) => bytes[7 + index] === byte)) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.frameMax === 0) this.frameMax = this.#asked.frameMaxBytes;
    if (this.heartbeat === 0) this.heartbeat = this.#asked.heartbeatSeconds;
    view.setUint32(13, this.frameMax);
    view.setUint16(17, this.heartbeat);
  }

  #end(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#watchdog?.stop();
    const error = this.#lossError();
    // The client leaves these waiting where it was itself that closed the socket.
    for (const channel of this.channels) channel?.setClosed(error);
    for (const listener of this.#lossListeners) listener(error);
    this.#lossListeners.clear();
    this.#resolveLost(reasonOf(error));
  }

  #lossError(): Error {
    return this.#fault === undefined
      ? new Error("the connection was closed by the other side")
      : new Error(reasonOf(this.#fault));
  }
}

function clientUrl(
  { isTls, host, port, vhost, username, password }: Endpoint,
  { name, heartbeatSeconds, frameMaxBytes }: {
    readonly name: string;
    readonly heartbeatSeconds: number;
    readonly frameMaxBytes: number;
  },
): string {
  const query = new URLSearchParams({
    name,
    heartbeat: String(heartbeatSeconds),
    frameMax: String(frameMaxBytes),
  });
  const user = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return `${isTls ? "amqps" : "amqp"}://${user}@${address}/${encodeURIComponent(vhost)}?${query}`;
}
