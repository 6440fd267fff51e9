/** TLS with a broker that has to be the right one. */
import { afterAll, expect, test } from "bun:test";
import { createServer as createTlsServer } from "node:tls";
import { startRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { BrokerAwayError, BrokerRefusedError } from "../../../src/broker/errors.ts";
import { Authority } from "../../support/certificates.ts";
import {
  errorOf,
  eventually,
  Reader,
  RESTORED_LIMIT_MS,
  Stage,
  TEST_LIMIT_MS,
  textOf,
  toQueue,
} from "./scene.ts";

const authority = new Authority("our authority");
const server = authority.issue("rabbit", { names: "IP:127.0.0.1,DNS:localhost" });
const ours = authority.issue("coxswain", { names: "DNS:coxswain" });

const rabbit = await startRabbitMq({
  files: { "ca.pem": authority.ca, "server.pem": server.cert, "server.key": server.key },
  config: [
    "listeners.ssl.1 = 127.0.0.1:{tlsPort}",
    "ssl_options.cacertfile = {folder}/ca.pem",
    "ssl_options.certfile = {folder}/server.pem",
    "ssl_options.keyfile = {folder}/server.key",
    "ssl_options.verify = verify_peer",
    "ssl_options.fail_if_no_peer_cert = true",
  ],
});
afterAll(async () => {
  await rabbit.dispose();
  authority[Symbol.dispose]();
});

const url = (host: string, port = rabbit.tlsPort) => `amqps://guest:guest@${host}:${port}`;
const tls = { ca: authority.ca, ...ours };

test("amqps with our authority and our certificate carries messages, and comes back", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy(rabbit.tlsPort);
  const broker = await stage.connect({ url: url("localhost", proxy.port), tls });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 5 }));
  const large = "x".repeat(3_000_000);
  await broker.publish(toQueue(queue, large), { confirm: true });
  const delivery = await reader.next();
  expect(textOf(delivery) === large).toBe(true);
  delivery.ack();
  await proxy.cut();
  await eventually(() => broker.state.kind, (kind) => kind === "away", "the loss to be told");
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
  await broker.publish(toQueue(queue, "again"), { confirm: true });
  while (textOf(await reader.next()) !== "again");
}, TEST_LIMIT_MS);

test("a broker whose certificate nobody vouches for is refused at once", async () => {
  await using stage = new Stage(rabbit);
  const error = await errorOf(stage.create({ url: url("127.0.0.1"), tls: ours }).start());
  expect(error).toBeInstanceOf(BrokerRefusedError);
  expect(error.message).toContain("certificate cannot be verified");
}, TEST_LIMIT_MS);

test("a certificate for another name is refused at once, and learns no password", async () => {
  await using stage = new Stage(rabbit);
  const other = authority.issue("other", { names: "DNS:elsewhere.example" });
  const heard: string[] = [];
  const impostor = createTlsServer(other, (socket) => {
    socket.on("data", (chunk) => heard.push(chunk.toString("latin1")));
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
  const address = impostor.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const broker = stage.create({ url: url("127.0.0.1", address.port), tls });
  const error = await errorOf(broker.start());
  expect(error).toBeInstanceOf(BrokerRefusedError);
  expect(error.message).toContain("certificate");
  expect(heard).toEqual([]);
  await new Promise((resolve) => impostor.close(resolve));
}, TEST_LIMIT_MS);

test("a broker that wants our certificate and gets none is told so", async () => {
  await using stage = new Stage(rabbit);
  const abort = new AbortController();
  const broker = stage.create({ url: url("127.0.0.1"), tls: { ca: authority.ca } });
  const starting = broker.start(abort.signal);
  setTimeout(() => abort.abort(), 1_000);
  const error = await errorOf(starting);
  expect([BrokerRefusedError, BrokerAwayError].some((kind) => error instanceof kind)).toBe(true);
}, TEST_LIMIT_MS);

test("amqps to a port without TLS is refused with a hint", async () => {
  await using stage = new Stage(rabbit);
  const error = await errorOf(stage.create({ url: url("127.0.0.1", rabbit.port), tls }).start());
  expect(error).toBeInstanceOf(BrokerRefusedError);
  expect(error.message).toContain("amqp://");
}, TEST_LIMIT_MS);

test("a certificate text that is none is refused at once", async () => {
  await using stage = new Stage(rabbit);
  const broker = stage.create({
    url: url("127.0.0.1"),
    tls: { ca: authority.ca, cert: "x", key: "y" },
  });
  expect(await errorOf(broker.start())).toBeInstanceOf(BrokerRefusedError);
}, TEST_LIMIT_MS);
