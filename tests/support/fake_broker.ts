/**
 * A peer that speaks AMQP 0-9-1 well enough for our client to connect, declare and consume, and then
 * sends whatever a test gives it: what no RabbitMQ would ever send.
 */
import { createServer, type Socket } from "node:net";
import { BODY, frame, FrameReader, HEADER, longString, method } from "./raw_amqp.ts";
import { PROTOCOL_HEADER, shortString, table, uint16, uint32 } from "./raw_amqp.ts";

const FRAME_MAX_BYTES = 131_072;

/** A consumer that our client has asked for. */
export interface Consumer {
  readonly channel: number;
  readonly tag: string;
  readonly queue: string;
  /** Bytes as they are, on the consumer's connection. */
  send(bytes: Uint8Array): void;
  readonly isOpen: boolean;
}

export class FakeBroker implements AsyncDisposable {
  readonly #server = createServer((socket) => this.#serve(socket));
  readonly #sockets = new Set<Socket>();
  /** The latest last. */
  readonly consumers: Consumer[] = [];
  #deliveries = 0;

  static async start(): Promise<FakeBroker> {
    const broker = new FakeBroker();
    await new Promise<void>((resolve) => broker.#server.listen(0, "127.0.0.1", resolve));
    return broker;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("The peer has no port");
    return `amqp://guest:guest@127.0.0.1:${address.port}`;
  }

  /** The consumer of a queue whose connection is open. */
  consumer(queue: string): Consumer | undefined {
    return this.consumers.findLast((one) => one.queue === queue && one.isOpen);
  }

  /** basic.deliver for a consumer, without the frames of its content. */
  deliver({ channel, tag }: Consumer, routingKey: string | Buffer = "key"): Buffer {
    const key = typeof routingKey === "string" ? shortString(routingKey) : routingKey;
    return method(
      channel,
      60,
      60,
      shortString(tag),
      uint32(0),
      uint32(++this.#deliveries),
      Buffer.of(0),
      shortString(""),
      key,
    );
  }

  /** Ends every connection when all that was sent is on its way. */
  async hangUp(): Promise<void> {
    await Promise.all(Array.from(this.#sockets, (socket) =>
      new Promise<void>((resolve) => {
        socket.once("close", () => resolve());
        socket.end(() => setTimeout(() => socket.destroy(), 20));
      })));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    // Our client hangs up when it cannot read what it was sent.
    this.#converse(socket).catch(() => socket.destroy());
  }

  async #converse(socket: Socket): Promise<void> {
    const reader = new FrameReader(socket);
    await reader.bytes(PROTOCOL_HEADER.length);
    const mechanisms = [longString("PLAIN"), longString("en_US")];
    socket.write(method(0, 10, 10, Buffer.of(0, 9), table(), ...mechanisms));
    await reader.expect(10, 11);
    socket.write(method(0, 10, 30, uint16(2_047), uint32(FRAME_MAX_BYTES), uint16(60)));
    await reader.expect(10, 31);
    await reader.expect(10, 40);
    socket.write(method(0, 10, 41, shortString("")));
    let published = 0;
    while (true) {
      const head = await reader.bytes(7);
      const channel = head.readUInt16BE(1);
      const payload = await reader.bytes(head.readUInt32BE(3) + 1);
      if (head[0] !== 1) continue;
      const id = `${payload.readUInt16BE(0)}.${payload.readUInt16BE(2)}`;
      if (id === "60.40") {
        socket.write(method(channel, 60, 80, uint32(0), uint32(++published), Buffer.of(0)));
        continue;
      }
      if (id === "60.20") this.#noteConsumer(socket, channel, payload);
      const answer = ANSWERS[id];
      if (answer !== undefined) socket.write(answer(channel, payload));
    }
  }

  /** basic.consume: a reserved short, queue, tag. */
  #noteConsumer(socket: Socket, channel: number, payload: Buffer): void {
    const queue = textAt(payload, 6);
    const tag = textAt(payload, 7 + Buffer.byteLength(queue));
    this.consumers.push({
      channel,
      tag,
      queue,
      send: (bytes) => void socket.write(bytes),
      get isOpen() {
        return !socket.destroyed;
      },
    });
  }
}

type Answer = (channel: number, payload: Buffer) => Buffer;

const plain = (classId: number, methodId: number): Answer => (channel) =>
  method(channel, classId, methodId);

/** What a broker says to each method that has an answer, by class and method. */
const ANSWERS: Readonly<Record<string, Answer>> = {
  "10.50": plain(10, 51),
  "20.10": (channel) => method(channel, 20, 11, longString("")),
  "20.40": plain(20, 41),
  "40.10": plain(40, 11),
  "50.10": (channel, payload) =>
    method(channel, 50, 11, shortString(textAt(payload, 6)), uint32(0), uint32(0)),
  "50.20": plain(50, 21),
  "50.40": (channel) => method(channel, 50, 41, uint32(0)),
  "60.10": plain(60, 11),
  "60.20": (channel, payload) => {
    const queue = textAt(payload, 6);
    return method(channel, 60, 21, shortString(textAt(payload, 7 + Buffer.byteLength(queue))));
  },
  "60.30": (channel, payload) => method(channel, 60, 31, shortString(textAt(payload, 4))),
  "85.10": plain(85, 11),
};

function textAt(payload: Buffer, at: number): string {
  const length = payload[at] ?? 0;
  return payload.subarray(at + 1, at + 1 + length).toString();
}

/** The content header of a message: its body's size, its property list as it is on the wire. */
export function contentHeader(channel: number, bodyBytes: number, properties: Uint8Array): Buffer {
  return frame(
    HEADER,
    channel,
    Buffer.concat([uint16(60), uint16(0), uint32(0), uint32(bodyBytes), properties]),
  );
}

export function bodyFrame(channel: number, bytes: Uint8Array): Buffer {
  return frame(BODY, channel, Buffer.from(bytes));
}
