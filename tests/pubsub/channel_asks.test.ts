/** What tasks ask of channels, as the main thread answers it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { systemClock } from "../../src/lifecycle/clock.ts";
import { ChannelAsks } from "../../src/pubsub/channel_asks.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { type Folder, makeFolder } from "../support/folders.ts";

describe("ChannelAsks", () => {
  let folder: Folder;
  let broker: Broker;
  beforeAll(async () => {
    folder = await makeFolder();
    broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
    await broker.start();
  });
  afterAll(async () => {
    await broker.stop();
    await folder[Symbol.asyncDispose]();
  });

  const ask = (tasks: ChannelAsks) => ({
    publish: (channel: string, value: unknown) =>
      tasks.asks["pubsub.publish"]({ channel }, JSON.stringify(value), undefined),
    subscribe: async (pattern: string) =>
      (await tasks.asks["pubsub.subscribe"]({ pattern }, "", undefined)).subscription,
    next: (subscription: string) => tasks.asks["pubsub.next"]({ subscription }, "", undefined),
    keep: (subscription: string) => tasks.asks["pubsub.keep"]({ subscription }, "", undefined),
    unsubscribe: (subscription: string) =>
      tasks.asks["pubsub.unsubscribe"]({ subscription }, "", undefined),
  });

  test("gives each subscription its messages, several of one pattern too", async () => {
    const tasks = new ChannelAsks(broker);
    const { publish, subscribe, next, unsubscribe } = ask(tasks);
    const [one, other, apart] = [
      await subscribe("a.*"),
      await subscribe("a.*"),
      await subscribe("b"),
    ];
    await publish("a.1", { x: 1 });
    await publish("b", "two");
    for (const subscription of [one, other]) {
      expect(await next(subscription)).toMatchObject({
        events: [{ channel: "a.1", message: { x: 1 } }],
        isOver: false,
      });
    }
    expect(await next(apart)).toMatchObject({ events: [{ channel: "b", message: "two" }] });
    await unsubscribe(one);
    await publish("a.2", 2);
    expect(await next(other)).toMatchObject({ events: [{ message: 2 }] });
    expect(tasks.size).toBe(2);
    const last = next(other);
    await tasks.stop();
    expect(await last).toEqual({ events: [], isOver: true });
    expect(tasks.size).toBe(0);
    await expect(subscribe("a")).rejects.toThrow("this node stops");
  });

  test("refuses names that are none", async () => {
    const tasks = new ChannelAsks(broker);
    const { publish, subscribe } = ask(tasks);
    await expect(publish("a.*", 1)).rejects.toMatchObject({ name: "BadName" });
    await expect(subscribe("")).rejects.toMatchObject({ name: "BadName" });
    expect(tasks.size).toBe(0);
    await tasks.stop();
  });

  test("ends what nobody asks for, and keeps what is kept", async () => {
    const clock = new FakeClock(systemClock.now());
    const tasks = new ChannelAsks(broker, clock);
    const { subscribe, next, keep } = ask(tasks);
    const [left, busy] = [await subscribe("a"), await subscribe("a")];
    for (let i = 0; i < 10; i++) {
      await clock.advance(30_000);
      await keep(busy);
    }
    expect(tasks.size).toBe(1);
    await expect(next(left)).rejects.toMatchObject({ name: "SubscriptionLost" });
    const waiting = next(busy);
    await clock.advance(30_000);
    expect(await waiting).toEqual({ events: [], isOver: false });
    await clock.advance(300_000);
    expect(tasks.size).toBe(0);
    await tasks.stop();
  });

  test("tells that the broker is away", async () => {
    const away = new EmbeddedBroker({ dataDir: folder.path }).connect();
    const tasks = new ChannelAsks(away);
    await expect(ask(tasks).subscribe("a")).rejects.toMatchObject({ name: "BrokerAwayError" });
    expect(tasks.size).toBe(0);
    await tasks.stop();
  });
});
