/**
 * AMQP 0-9-1 by hand, for what no client library would send: a publisher of any bytes as properties,
 * and a peer that greets as it is told to.
 */
import { connect, createServer, type Socket } from "node:net";

export const PROTOCOL_HEADER = Buffer.from("AMQP\0\0\x09\x01", "latin1");
const END = Buffer.of(0xce);
export const METHOD = 1;
export const HEADER = 2;
export const BODY = 3;
/** Property flag: headers follow. */
export const HAS_HEADERS = 0x2000;

export const shortString = (text: string): Buffer =>
  Buffer.concat([Buffer.of(Buffer.byteLength(text)), Buffer.from(text)]);

export const uint16 = (value: number): Buffer => Buffer.of(value >>> 8, value & 0xff);

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export const longString = (bytes: string | Buffer): Buffer =>
  Buffer.concat([uint32(Buffer.byteLength(bytes)), Buffer.from(bytes)]);

/** A field table from fields that are spelled out: name, type letter, value. */
export function table(...fields: readonly (readonly [string, string, Buffer])[]): Buffer {
  const parts = fields.flatMap(([name, type, value]) => [
    shortString(name),
    Buffer.from(type),
    value,
  ]);
  return longString(Buffer.concat(parts));
}

export function frame(type: number, channel: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type), uint16(channel), uint32(payload.length), payload, END]);
}

export function method(
  channel: number,
  classId: number,
  methodId: number,
  ...args: Buffer[]
): Buffer {
  return frame(METHOD, channel, Buffer.concat([uint16(classId), uint16(methodId), ...args]));
}

/** Reads frames off a socket, one after the other. */
export class FrameReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  async bytes(count: number): Promise<Buffer> {
    while (this.#buffer.length < count) {
      const { done, value } = await this.#chunks.next();
      if (done) throw new Error("The peer hung up");
      this.#buffer = Buffer.concat([this.#buffer, value]);
    }
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return taken;
  }

  /** The payload of the next method frame; others are passed over. */
  async method(): Promise<Buffer> {
    while (true) {
      const head = await this.bytes(7);
      const payload = await this.bytes(head.readUInt32BE(3) + 1);
      if (head[0] === METHOD) return payload.subarray(0, -1);
    }
  }

  /** Waits for one method and fails on any other. */
  async expect(classId: number, methodId: number): Promise<Buffer> {
    const payload = await this.method();
    const got = [payload.readUInt16BE(0), payload.readUInt16BE(2)];
    if (got[0] !== classId || got[1] !== methodId) {
      throw new Error(`Expected method ${classId}.${methodId}, got ${got.join(".")}`);
    }
    return payload.subarray(4);
  }
}

/**
 * Publishes one message whose property list (flags and values) is given as it goes on the wire.
 * @param queue routing key, the queue's name in the default exchange.
 * @throws Error when the broker hangs up on it.
 */
export async function publishRaw(
  port: number,
  { vhost = "/", exchange = "", queue, properties, body }: {
    readonly vhost?: string;
    readonly exchange?: string;
    readonly queue: string;
    readonly properties: Buffer;
    readonly body: Buffer;
  },
): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  const reader = new FrameReader(socket);
  socket.write(PROTOCOL_HEADER);
  await reader.expect(10, 10);
  socket.write(method(
    0,
    10,
    11,
    table(),
    shortString("PLAIN"),
    longString("\0guest\0guest"),
    shortString("en_US"),
  ));
  const tune = await reader.expect(10, 30);
  socket.write(method(0, 10, 31, tune.subarray(0, 6), uint16(0)));
  socket.write(method(0, 10, 40, shortString(vhost), Buffer.of(0, 0)));
  await reader.expect(10, 41);
  socket.write(method(1, 20, 10, Buffer.of(0)));
  await reader.expect(20, 11);
  socket.write(Buffer.concat([
    method(1, 60, 40, uint16(0), shortString(exchange), shortString(queue), Buffer.of(0)),
    frame(
      HEADER,
      1,
      Buffer.concat([uint16(60), uint16(0), uint32(0), uint32(body.length), properties]),
    ),
    ...(body.length > 0 ? [frame(BODY, 1, body)] : []),
  ]));
  // The broker answers in order: its answer says that the message was taken.
  socket.write(method(1, 20, 40, uint16(200), shortString("bye"), uint16(0), uint16(0)));
  await reader.expect(20, 41);
  socket.destroy();
}

/** What a client agreed to in connection.tune-ok. */
export interface TuneOk {
  readonly frameMaxBytes: number;
  readonly heartbeatSeconds: number;
}

export interface GreetingPeer extends AsyncDisposable {
  readonly port: number;
  /** Of each connection that came so far. */
  readonly agreed: readonly TuneOk[];
}

/**
 * A peer that greets as a broker does, offers what it is told to, opens the connection and any channel,
 * says yes to confirms, and is silent from then on.
 */
export async function greetingPeer(
  offer: { readonly frameMaxBytes: number; readonly heartbeatSeconds: number },
): Promise<GreetingPeer> {
  const agreed: TuneOk[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => sockets.delete(socket));
    serve(socket, offer, agreed).catch(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("The peer has no port");
  return {
    port: address.port,
    agreed,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function serve(
  socket: Socket,
  { frameMaxBytes, heartbeatSeconds }: TuneOk,
  agreed: TuneOk[],
): Promise<void> {
  const reader = new FrameReader(socket);
  await reader.bytes(PROTOCOL_HEADER.length);
  const mechanisms = [longString("PLAIN"), longString("en_US")];
  socket.write(method(0, 10, 10, Buffer.of(0, 9), table(), ...mechanisms));
  await reader.expect(10, 11);
  socket.write(method(0, 10, 30, uint16(0), uint32(frameMaxBytes), uint16(heartbeatSeconds)));
  const tuneOk = await reader.expect(10, 31);
  agreed.push({
    frameMaxBytes: tuneOk.readUInt32BE(2),
    heartbeatSeconds: tuneOk.readUInt16BE(6),
  });
  await reader.expect(10, 40);
  socket.write(method(0, 10, 41, shortString("")));
  for (let channel = 1;; channel++) {
    await reader.expect(20, 10);
    socket.write(method(channel, 20, 11, longString("")));
    if (channel < 2) continue;
    await reader.expect(85, 10);
    socket.write(method(channel, 85, 11));
  }
}
