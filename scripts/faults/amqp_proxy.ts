/**
 * A proxy between nodes and RabbitMQ that sees frames, not bytes: it can cut a connection at a certain
 * method, send what the broker never sent, and go silent as a line does that is dead.
 */
import { connect, createServer, type Server, type Socket } from "node:net";

export type Direction = "toBroker" | "toNode";

/** One frame (AMQP 0-9-1, section 4.2.3). */
export interface Frame {
  readonly direction: Direction;
  /** 1 method, 2 header, 3 body, 8 heartbeat. */
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
  readonly link: ProxiedLink;
}

/** Carries it; drops it; cuts its connection before it, or after it. */
export type Fate = "carry" | "drop" | "cut" | "carry and cut";

const PROTOCOL_HEADER_BYTES = 8;
const FRAME_HEAD_BYTES = 7;
const METHOD = 1;

/** Class and method, as "60.40" for basic.publish; empty for what is no method frame. */
export function methodOf({ type, payload }: Frame): string {
  return type === METHOD ? `${payload.readUInt16BE(0)}.${payload.readUInt16BE(2)}` : "";
}

/** A method frame as the broker sends it. */
export function methodFrame(
  channel: number,
  classId: number,
  methodId: number,
  args: Buffer,
): Buffer {
  const frame = Buffer.alloc(FRAME_HEAD_BYTES + 4 + args.length + 1);
  frame[0] = METHOD;
  frame.writeUInt16BE(channel, 1);
  frame.writeUInt32BE(4 + args.length, 3);
  frame.writeUInt16BE(classId, 7);
  frame.writeUInt16BE(methodId, 9);
  args.copy(frame, 11);
  frame[frame.length - 1] = 0xce;
  return frame;
}

/** Cuts a stream of bytes into frames; the first bytes of a client are no frame. */
class Splitter {
  #rest: Buffer = Buffer.alloc(0);
  #isGreeting: boolean;

  constructor(begins: boolean) {
    this.#isGreeting = begins;
  }

  /** Whole pieces, each with the bytes as they came. */
  *take(chunk: Buffer): Generator<Buffer> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (true) {
      const length = this.#nextLength();
      if (length === undefined || this.#rest.length < length) return;
      const piece = this.#rest.subarray(0, length);
      this.#rest = this.#rest.subarray(length);
      yield piece;
    }
  }

  #nextLength(): number | undefined {
    if (this.#isGreeting) {
      if (this.#rest.length < PROTOCOL_HEADER_BYTES) return undefined;
      this.#isGreeting = false;
      return PROTOCOL_HEADER_BYTES;
    }
    if (this.#rest.length < FRAME_HEAD_BYTES) return undefined;
    return FRAME_HEAD_BYTES + this.#rest.readUInt32BE(3) + 1;
  }
}

/** One node's connection and ours to the broker. */
export class ProxiedLink {
  readonly node: Socket;
  readonly broker: Socket;
  /** Channels on which the node consumes. */
  readonly consumingChannels = new Set<number>();

  constructor(node: Socket, broker: Socket) {
    this.node = node;
    this.broker = broker;
  }

  /** Ends both sides without a farewell. */
  cut(): void {
    this.node.resetAndDestroy();
    this.broker.resetAndDestroy();
  }
}

export class AmqpProxy implements AsyncDisposable {
  readonly links = new Set<ProxiedLink>();
  readonly #server: Server;
  readonly #brokerPort: number;
  readonly #silent = new Set<Direction>();
  /** What becomes of each frame; set by the scenario. */
  judge: (frame: Frame) => Fate = () => "carry";

  private constructor(brokerPort: number) {
    this.#brokerPort = brokerPort;
    this.#server = createServer((socket) => this.#join(socket));
  }

  static async listen(brokerPort: number): Promise<AmqpProxy> {
    const proxy = new AmqpProxy(brokerPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("The proxy has no port");
    return address.port;
  }

  /** From now on what goes this way vanishes, on all connections; they stay open. */
  silence(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#silent.add(direction);
  }

  /** Carries again. Connections that lost something are of no use: they are cut. */
  carry(): void {
    this.#silent.clear();
    for (const link of this.links) link.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const link of this.links) link.cut();
    await closed;
  }

  #join(node: Socket): void {
    const broker = connect(this.#brokerPort, "127.0.0.1");
    const link = new ProxiedLink(node, broker);
    this.links.add(link);
    this.#pipe(link, node, broker, "toBroker");
    this.#pipe(link, broker, node, "toNode");
  }

  #pipe(link: ProxiedLink, from: Socket, to: Socket, direction: Direction): void {
    const splitter = new Splitter(direction === "toBroker");
    from.setNoDelay(true);
    from.on("data", (chunk) => {
      if (this.#silent.has(direction)) return;
      for (const piece of splitter.take(Buffer.from(chunk))) {
        if (from.destroyed || !this.#pass(link, piece, to, direction)) return;
      }
    });
    // The other side is ended below, by the close that follows.
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.links.delete(link);
      to.destroy();
    });
  }

  /** @returns whether the connection is still there. */
  #pass(link: ProxiedLink, piece: Buffer, to: Socket, direction: Direction): boolean {
    const isGreeting = piece.subarray(0, 4).toString("latin1") === "AMQP";
    const fate = isGreeting ? "carry" : this.#judged(link, piece, direction);
    if (fate === "carry" || fate === "carry and cut") to.write(piece);
    if (fate === "carry" || fate === "drop") return true;
    if (fate === "cut") link.cut();
    else {
      // What was written must leave first.
      to.end(() => link.cut());
    }
    return false;
  }

  #judged(link: ProxiedLink, piece: Buffer, direction: Direction): Fate {
    const frame: Frame = {
      direction,
      type: piece[0] ?? 0,
      channel: piece.readUInt16BE(1),
      payload: piece.subarray(FRAME_HEAD_BYTES, -1),
      link,
    };
    if (methodOf(frame) === "60.20") link.consumingChannels.add(frame.channel);
    return this.judge(frame);
  }
}
