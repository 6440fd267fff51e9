/** `app subscribe` while its front, or the way to it, comes and goes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const AWAY = "The front went away; it is asked again until it is back.";
const BACK = "The front is back.";

/** The numbers that it has printed. */
const printed = ({ output }: App) =>
  output.split("\n").slice(0, -1).map((line) => Number(/^\S+ orders\.paid (\d+)$/.exec(line)?.[1]));

async function publish(url: string, ...numbers: number[]): Promise<void> {
  for (const n of numbers) {
    const response = await fetch(`${url}/channels/orders.paid`, { method: "POST", body: `${n}` });
    expect(response.status).toBe(202);
    await response.body?.cancel();
  }
}

/** Publishes until it hears: nobody is told when a subscriber is there. @returns the next number. */
async function untilHeard(subscriber: App, url: string): Promise<number> {
  let next = 0;
  await until(async () => {
    await publish(url, next++);
    return printed(subscriber).length > 0;
  }, "the subscriber to hear");
  await until(() => printed(subscriber).at(-1) === next - 1, "the latest message");
  return next;
}

describe.each(["the embedded broker", "RabbitMQ"])("app subscribe on %s", (broker) => {
  let broking: string[] = [];
  const folder = temporaryFolder();
  beforeAll(async () => {
    if (broker === "RabbitMQ") broking = ["--amqp-url", (await sharedRabbitMq()).url];
  }, 60_000);
  afterAll(() => folder.remove());
  const startFront = (port: number) =>
    startNode(["all", "--port", `${port}`, ...broking], { cwd: folder.path });

  test("goes on where it was when its connection is lost, and misses nothing", async () => {
    await using front = await startFront(0);
    await using way = new TcpProxy(Number(new URL(front.url).port));
    await using subscriber = new App([
      ...["subscribe", "orders.*", "--url", `http://127.0.0.1:${way.port}`],
    ]);
    const first = await untilHeard(subscriber, front.url);
    await way.refuse();
    await until(() => subscriber.log.includes(AWAY), "the loss to be told");
    await publish(front.url, first, first + 1, first + 2);
    way.accept();
    await until(() => printed(subscriber).at(-1) === first + 2, "what was missed");
    await publish(front.url, first + 3);
    await until(() => printed(subscriber).at(-1) === first + 3, "what came later");
    const numbers = printed(subscriber);
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] ?? 0) + i));
    expect(subscriber.log.trim().split("\n")).toEqual([AWAY, BACK]);
    subscriber.signal("SIGINT");
    expect(await subscriber.exited()).toBe(0);
  }, 60_000);

  test("goes on when its front is killed and started anew, and tells the gap", async () => {
    const front = await startFront(0);
    const { url } = front;
    await using subscriber = new App(["subscribe", "orders.*", "--url", url]);
    const first = await untilHeard(subscriber, url);
    front.signal("SIGKILL");
    await front[Symbol.asyncDispose]();
    await until(() => subscriber.log.includes(AWAY), "the loss to be told");
    await using _again = await startFront(Number(new URL(url).port));
    await until(() => subscriber.log.includes(BACK), "the front to be back");
    await publish(url, first, first + 1);
    await until(() => printed(subscriber).at(-1) === first + 1, "what came later");
    const numbers = printed(subscriber);
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] ?? 0) + i));
    const [away, back, gap, ...more] = subscriber.log.trim().split("\n");
    expect([away, back]).toEqual([AWAY, BACK]);
    expect(gap).toContain("may have been missed: what followed the id that was seen last");
    expect(more).toEqual([]);
  }, 60_000);

  test("begins after --after, and ends after --count", async () => {
    await using front = await startFront(0);
    const response = await fetch(`${front.url}/channels/orders.paid`, { method: "HEAD" });
    await publish(front.url, 1, 2, 3);
    const { code, output, log } = await runApp([
      ...["subscribe", "orders.#", "--url", front.url, "--count", "2"],
      ...["--after", response.headers.get("cox-after") ?? ""],
    ]);
    expect(code).toBe(0);
    expect(output.match(/\d+(?=\n)/g)).toEqual(["1", "2"]);
    expect(log).toBe("");
  });
});

test("app subscribe and app publish refuse what is no channel", async () => {
  for (const words of [["subscribe", ""], ["subscribe", "a", "b"], ["publish", "a.*", "1"]]) {
    const { code, log } = await runApp([...words, "--url", "http://127.0.0.1:1"]);
    expect(log).not.toBe("");
    expect(code).toBe(words[0] === "subscribe" ? 2 : 3);
  }
  const { url } = await sharedRabbitMq();
  expect((await runApp(["publish", "a.*", "1", "--amqp-url", url])).code).toBe(2);
}, 60_000);
