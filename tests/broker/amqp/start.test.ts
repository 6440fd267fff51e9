/** How a connection begins: what is refused at once, what is waited for, what is told. */
import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../../src/broker/amqp/amqp_broker.ts";
import { BrokerAwayError, BrokerRefusedError } from "../../../src/broker/errors.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { greetingPeer } from "../../support/raw_amqp.ts";
import {
  errorOf,
  eventually,
  Reader,
  RESTORED_LIMIT_MS,
  Stage,
  TEST_LIMIT_MS,
  textOf,
  toQueue,
  urlOf,
  within,
} from "./scene.ts";

const rabbit = await sharedRabbitMq();
const SECRET = "s3cret-w0rd";

/** All that an error would show: its text, its causes, what a logger digs out of it. */
function allTextOf(error: Error): string {
  return `${error.message} ${error.stack} ${Bun.inspect(error, { depth: 8 })}`;
}

test("bad credentials are refused at once, without the password in the error", async () => {
  await using stage = new Stage(rabbit);
  const broker = stage.create({ url: `amqp://guest:${SECRET}@127.0.0.1:${rabbit.port}` });
  const error = await errorOf(broker.start());
  expect(error).toBeInstanceOf(BrokerRefusedError);
  expect(error.message).toContain("ACCESS_REFUSED");
  expect(error.message).toContain(`127.0.0.1:${rabbit.port}`);
  expect(allTextOf(error)).not.toContain(SECRET);
  expect(broker.state.kind).toBe("stopped");
}, TEST_LIMIT_MS);

test("a vhost that does not exist is refused at once", async () => {
  await using stage = new Stage(rabbit);
  const error = await errorOf(stage.create({ url: `${rabbit.url}nowhere` }).start());
  expect(error).toBeInstanceOf(BrokerRefusedError);
  expect(error.message).toContain("nowhere");
}, TEST_LIMIT_MS);

test("a vhost and a user with odd characters work", async () => {
  await using stage = new Stage(rabbit);
  const [vhost, user, password] = ["odd/vhost %", "us:er@", "p%ss/w@rd?#"];
  rabbit.ctl("add_vhost", vhost);
  rabbit.ctl("add_user", user, password);
  rabbit.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*");
  const [v, u, p] = [vhost, user, password].map(encodeURIComponent);
  const broker = await stage.connect({ url: `amqp://${u}:${p}@127.0.0.1:${rabbit.port}/${v}` });
  await broker.declareQueue({ name: "here" });
  expect((await broker.inspectQueue("here"))?.messages).toBe(0);
  await broker.stop();
  rabbit.ctl("delete_vhost", vhost);
  rabbit.ctl("delete_user", user);
}, TEST_LIMIT_MS);

test(
  "a refused connection is tried until the signal aborts; the last failure is told",
  async () => {
    await using stage = new Stage(rabbit);
    const proxy = stage.proxy();
    await proxy.refuse();
    const abort = new AbortController();
    const starting = stage.create({ url: urlOf(proxy.port) }).start(abort.signal);
    setTimeout(() => abort.abort(), 300);
    const error = await errorOf(starting);
    expect(error).toBeInstanceOf(BrokerAwayError);
    expect(error.message).toContain("ECONNREFUSED");
    expect(error.cause).toBeInstanceOf(Error);
  },
  TEST_LIMIT_MS,
);

test("a broker that comes up later is found", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  await proxy.refuse();
  const broker = stage.create({ url: urlOf(proxy.port) });
  const starting = broker.start();
  setTimeout(() => proxy.accept(), 300);
  await within(starting, "the start", RESTORED_LIMIT_MS);
  expect(broker.state.kind).toBe("connected");
}, TEST_LIMIT_MS);

test("a peer that accepts and says nothing is given up and tried again", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  proxy.swallow("toClient");
  const broker = stage.create({ url: urlOf(proxy.port), connectTimeoutMs: 200 });
  const starting = broker.start();
  await eventually(() => proxy.accepted, (count) => count >= 3, "another try");
  proxy.carry();
  await within(starting, "the start", RESTORED_LIMIT_MS);
}, TEST_LIMIT_MS);

test("a peer that speaks another protocol ends no process and is told", async () => {
  await using stage = new Stage(rabbit);
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + "x".repeat(300_000));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const abort = new AbortController();
  const starting = stage.create({ url: urlOf(address.port) }).start(abort.signal);
  setTimeout(() => abort.abort(), 300);
  expect(await errorOf(starting)).toBeInstanceOf(BrokerAwayError);
  server.close();
}, TEST_LIMIT_MS);

test("stop() during start() ends the start", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  proxy.swallow("toClient");
  const broker = stage.create({ url: urlOf(proxy.port) });
  const starting = errorOf(broker.start());
  await eventually(() => proxy.accepted, (count) => count >= 1, "a try");
  await within(broker.stop(), "the stop");
  expect(await starting).toBeInstanceOf(BrokerAwayError);
}, TEST_LIMIT_MS);

test("a URL that is none is refused when the broker is created, and not repeated", () => {
  for (const url of ["", "localhost", `http://u:${SECRET}@host`, `amqp://u:${SECRET}%@host`]) {
    let message = "";
    try {
      createAmqpBroker({ url });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      message = allTextOf(error);
    }
    expect(message).toContain("AMQP URL");
    expect(message).not.toContain(SECRET);
  }
});

test("what the broker leaves open at the greeting is ours; what it lowers is its", async () => {
  await using stage = new Stage(rabbit);
  const asked = { frameMaxBytes: 65_536, heartbeatMs: 20_000 };
  const cases = [
    [{ frameMaxBytes: 0, heartbeatSeconds: 0 }, { frameMaxBytes: 65_536, heartbeatSeconds: 20 }],
    [{ frameMaxBytes: 8192, heartbeatSeconds: 7 }, { frameMaxBytes: 8192, heartbeatSeconds: 7 }],
    [{ frameMaxBytes: 131_072, heartbeatSeconds: 60 }, {
      frameMaxBytes: 65_536,
      heartbeatSeconds: 20,
    }],
  ] as const;
  for (const [offer, agreed] of cases) {
    await using peer = await greetingPeer(offer);
    const broker = await stage.connect({ url: urlOf(peer.port), ...asked });
    expect(peer.agreed).toEqual([agreed, agreed]);
    const stopping = broker.stop();
    await peer[Symbol.asyncDispose]();
    await stopping;
  }
}, TEST_LIMIT_MS);

test(
  "with small frames large bodies travel, and properties beyond a frame are refused",
  async () => {
    await using stage = new Stage(rabbit);
    const broker = await stage.connect({ frameMaxBytes: 8192 });
    const queue = stage.name();
    await broker.declareQueue({ name: queue });
    const reader = new Reader(await broker.consume(queue, { prefetch: 10 }));
    // At the seams between one frame and two.
    for (const length of [8183, 8184, 8185, 16_368, 16_369, 1_000_000]) {
      await broker.publish(toQueue(queue, "y".repeat(length)), { confirm: true });
      const delivery = await reader.next();
      expect(textOf(delivery)).toBe("y".repeat(length));
      delivery.ack();
    }
    const large = toQueue(queue, "x", { headers: { large: "z".repeat(8_200) } });
    expect((await errorOf(broker.publish(large))).message).toContain("8192");
    expect(await broker.publish(toQueue(queue, "after"), { confirm: true })).toBe("confirmed");
    expect(textOf(await reader.next())).toBe("after");
  },
  TEST_LIMIT_MS,
);

test("stop() ends within its limits even where the broker has gone silent", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const clock = new FakeClock();
  const broker = await stage.connect({ url: urlOf(proxy.port), clock });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 1 }));
  proxy.swallow("toClient", "toTarget");
  const unanswered = broker.publish(toQueue(queue, "x"), { confirm: true });
  const lost = errorOf(unanswered);
  const stopping = broker.stop();
  let isStopped = false;
  void stopping.then(() => isStopped = true);
  let passedMs = 0;
  await eventually(
    () => {
      clock.advance(500);
      passedMs += 500;
      return isStopped;
    },
    (stopped) => stopped,
    "the stop",
  );
  expect(passedMs).toBeLessThanOrEqual(5 * 4_000);
  expect(await lost).toBeInstanceOf(BrokerAwayError);
  await reader.end();
}, TEST_LIMIT_MS);
