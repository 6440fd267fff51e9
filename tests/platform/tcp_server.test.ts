import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import {
  type TcpConnection,
  TcpListenError,
  TcpServer,
  type TcpServerOptions,
} from "../../src/platform/tcp_server.ts";
import { Authority } from "../support/certificates.ts";
import { until } from "../support/waiting.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** One connection as the server saw it. */
class Seen {
  text = "";
  drained = 0;
  closed: boolean[] = [];
  constructor(readonly connection: TcpConnection) {}
}

async function serve(options: Partial<TcpServerOptions> = {}) {
  const seen: Seen[] = [];
  const server = new TcpServer({
    host: "127.0.0.1",
    port: 0,
    opened: (connection) => {
      const one = new Seen(connection);
      seen.push(one);
      return {
        received: (bytes) => one.text += decoder.decode(bytes),
        drained: () => one.drained++,
        closed: (isBroken) => one.closed.push(isBroken),
      };
    },
    ...options,
  });
  await server.start();
  return { server, seen, [Symbol.asyncDispose]: () => server.stop() };
}

function dial(port: number): Socket & { text: string; isOver: boolean } {
  const socket = Object.assign(connect(port, "127.0.0.1"), { text: "", isOver: false });
  socket.on("data", (chunk) => socket.text += chunk.toString());
  socket.on("error", () => undefined);
  socket.on("close", () => socket.isOver = true);
  return socket;
}

test("tells what comes, from where, and the end", async () => {
  await using scene = await serve();
  const client = dial(scene.server.port);
  client.write("hello");
  await until("it came", () => scene.seen[0]?.text === "hello");
  expect(scene.seen[0]?.connection.address).toBe(`127.0.0.1:${client.localPort}`);
  expect(scene.seen[0]?.connection.host).toBe("127.0.0.1");
  expect(scene.seen[0]?.connection.write(encoder.encode("you too"))).toBe(7);
  await until("the answer", () => client.text === "you too");
  client.end(" bye");
  await until("the end", () => scene.seen[0]?.closed.length === 1);
  expect(scene.seen[0]?.text).toBe("hello bye");
  await until("our end", () => client.isOver);
});

test("tells a connection that was reset", async () => {
  await using scene = await serve();
  const client = dial(scene.server.port);
  await until("it is there", () => scene.seen.length === 1);
  client.resetAndDestroy();
  await until("the end", () => scene.seen[0]?.closed.length === 1);
});

test("end() writes the last bytes, and closes though the other side does not", async () => {
  await using scene = await serve();
  const client = dial(scene.server.port);
  await until("it is there", () => scene.seen.length === 1);
  scene.seen[0]?.connection.end(encoder.encode("error: so it is\n"));
  expect(scene.seen[0]?.connection.write(encoder.encode("no more"))).toBe(0);
  await until("the client's end", () => client.isOver);
  expect(client.text).toBe("error: so it is\n");
  await until("the end", () => scene.seen[0]?.closed.length === 1);
});

test("who does not read makes write() take less, and drained() tells when it goes on", async () => {
  await using scene = await serve();
  const client = dial(scene.server.port);
  await until("it is there", () => scene.seen.length === 1);
  client.pause();
  const [one] = scene.seen;
  const block = new Uint8Array(1 << 20);
  let taken = 0;
  let last = block.length;
  while (last === block.length) taken += last = one?.connection.write(block) ?? 0;
  expect(one?.drained).toBe(0);
  let read = 0;
  client.removeAllListeners("data");
  client.on("data", (chunk) => read += chunk.length);
  client.resume();
  await until("it drained", () => (one?.drained ?? 0) > 0);
  await until("all came", () => read === taken);
});

test("pause() stops reading until resume()", async () => {
  await using scene = await serve();
  const client = dial(scene.server.port);
  await until("it is there", () => scene.seen.length === 1);
  const [one] = scene.seen;
  one?.connection.pause();
  const line = "x".repeat(1 << 20);
  for (let count = 0; count < 32; count++) client.write(line);
  await Bun.sleep(100);
  expect(one?.text.length).toBeLessThan(1 << 22);
  one?.connection.resume();
  await until("all came", () => one?.text.length === 32 << 20);
});

test("a port that is taken is told", async () => {
  await using scene = await serve();
  const second = serve({ port: scene.server.port });
  expect(await second.catch((error: unknown) => error)).toBeInstanceOf(TcpListenError);
});

test("close() accepts nobody more, and leaves those who are there", async () => {
  await using scene = await serve();
  const first = dial(scene.server.port);
  await until("it is there", () => scene.seen.length === 1);
  scene.server.close();
  const late = dial(scene.server.port);
  await until("the refusal", () => late.isOver);
  first.write("still here");
  await until("it came", () => scene.seen[0]?.text === "still here");
  expect(scene.seen.length).toBe(1);
});

test("with TLS a connection opens when both agree; who speaks no TLS does not get in", async () => {
  using authority = new Authority("devices");
  const { cert, key } = authority.issue("gateway", { names: "IP:127.0.0.1" });
  const knocks: string[] = [];
  await using scene = await serve({
    tls: { cert, key },
    knocked: (host) => knocks.push(`in ${host}`) < 100,
    knockEnded: (host) => knocks.push(`out ${host}`),
  });
  const plain = dial(scene.server.port);
  plain.write("no TLS at all, just a line\n");
  await until("its end", () => plain.isOver);
  expect(scene.seen.length).toBe(0);
  await until("its leave", () => knocks.length === 2);

  const client = connectTls({ port: scene.server.port, host: "127.0.0.1", ca: authority.ca });
  let text = "";
  client.on("data", (chunk) => text += chunk.toString());
  client.write("hello");
  await until("it came", () => scene.seen[0]?.text === "hello");
  expect(scene.seen[0]?.connection.write(encoder.encode("you too"))).toBe(7);
  await until("the answer", () => text === "you too");
  expect(knocks).toEqual(["in 127.0.0.1", "out 127.0.0.1", "in 127.0.0.1", "out 127.0.0.1"]);
  client.end();
  await until("the end", () => scene.seen[0]?.closed.length === 1);

  const early = dial(scene.server.port);
  await until("its knock", () => knocks.length === 5);
  early.destroy();
  await until("its leave", () => knocks.length === 6);
  expect(scene.seen.length).toBe(1);
});
