/** Channels of a front on a real broker: order, replay, gaps and bounds. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import type { ChannelEvent } from "../../src/pubsub/channel_event.ts";
import { Channels, TooManySubscribersError } from "../../src/pubsub/channels.ts";
import type { Subscription } from "../../src/pubsub/subscription.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { FakeClock } from "../support/fake_clock.ts";

const LIMITS = {
  replay: { maxMessages: 100, maxBytes: 1_000_000, maxAgeMs: 60_000 },
  maxBacklog: 50,
  maxSubscribers: 40,
};
const payload = (value: unknown) => ({
  contentType: "application/json",
  body: new TextEncoder().encode(JSON.stringify(value)),
});

/** Takes events until there are so many. */
async function taken(subscription: Subscription, count: number): Promise<ChannelEvent[]> {
  const events: ChannelEvent[] = [];
  while (events.length < count) events.push(...await subscription.next());
  return events;
}

const values = (events: readonly ChannelEvent[]) =>
  events.map((event) => event.kind === "gap" ? event.reason : JSON.parse(event.json).message);

describe("Channels", () => {
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

  async function withChannels(
    run: (
      channels: Channels,
      publish: (channel: string, value: unknown) => Promise<string>,
    ) => Promise<void>,
    options: Partial<ConstructorParameters<typeof Channels>[0]> = {},
  ): Promise<void> {
    const channels = new Channels({ broker, ...LIMITS, ...options });
    await channels.start();
    try {
      await run(channels, async (channel, value) => {
        const published = await channels.publish(channel, payload(value));
        if (published.kind !== "published") throw new Error(published.message);
        return published.id;
      });
    } finally {
      await channels.stop();
    }
  }

  test("gives each subscriber the messages of its pattern, in order", async () => {
    await withChannels(async (channels, publish) => {
      using all = channels.subscribe("#");
      using some = channels.subscribe("orders.*");
      for (let i = 0; i < 30; i++) await publish(i % 3 === 0 ? "orders.new" : "other", i);
      expect(values(await taken(all, 30))).toEqual(Array.from({ length: 30 }, (_, i) => i));
      expect(values(await taken(some, 10))).toEqual(Array.from({ length: 10 }, (_, i) => i * 3));
    });
  });

  test("gives what was published since a message that was seen", async () => {
    await withChannels(async (channels, publish) => {
      const ids: string[] = [];
      using first = channels.subscribe("#");
      for (let i = 0; i < 10; i++) ids.push(await publish("a.b", i));
      await taken(first, 10);
      using later = channels.subscribe("a.*", ids[3]);
      await publish("a.b", 10);
      expect(values(await taken(later, 7))).toEqual([4, 5, 6, 7, 8, 9, 10]);
    });
  });

  test("gives a place to go on from before anything was published", async () => {
    await withChannels(async (channels, publish) => {
      using idle = channels.subscribe("a");
      const before = idle.position;
      const id = await publish("a", 1);
      using witness = channels.subscribe("a", before);
      expect(values(await taken(witness, 1))).toEqual([1]);
      expect(witness.position).toBe(id);
      expect(idle.position).toBe(before);
      await taken(idle, 1);
      expect(idle.position).toBe(id);
    });
  });

  test("tells a gap to who has seen what is forgotten, then what is kept", async () => {
    await withChannels(async (channels, publish) => {
      using witness = channels.subscribe("#");
      const first = await publish("a", 0);
      for (let i = 1; i <= 150; i++) await publish("a", i);
      expect(values(await taken(witness, 151)).at(-1)).toBe(150);
      using later = channels.subscribe("a", first);
      expect(values(await taken(later, 101))).toEqual([
        "not_kept",
        ...Array.from({ length: 100 }, (_, i) => i + 51),
      ]);
      using other = channels.subscribe("b", first);
      expect(values(other.take())).toEqual(["not_kept"]);
      using stranger = channels.subscribe("a", "not-an-id-of-ours");
      expect(values(stranger.take())[0]).toBe("not_kept");
    }, { maxBacklog: 500 });
  });

  test("forgets by age", async () => {
    const clock = new FakeClock(Date.now());
    await withChannels(async (channels, publish) => {
      using witness = channels.subscribe("#");
      const id = await publish("a", 1);
      await publish("a", 2);
      await taken(witness, 2);
      await clock.advance(120_000);
      using late = channels.subscribe("a", id);
      expect(values(late.take())).toEqual(["not_kept"]);
      expect(channels.status.kept).toBe(0);
    }, { clock });
  });

  test("drops the backlog of who does not read, tells how much, and costs nobody else", async () => {
    await withChannels(async (channels, publish) => {
      using slow = channels.subscribe("#");
      using quick = channels.subscribe("#");
      const got: unknown[] = [];
      for (let i = 0; i < 130; i++) {
        await publish("a", i);
        got.push(...values(await taken(quick, 1)));
      }
      expect(got).toEqual(Array.from({ length: 130 }, (_, i) => i));
      const [gap, ...rest] = slow.take();
      expect(gap).toMatchObject({ kind: "gap", reason: "too_slow", missed: 80 });
      expect(values(rest)).toEqual(Array.from({ length: 50 }, (_, i) => 80 + i));
    });
  });

  test("takes no more subscribers than it may, and those that leave make room", async () => {
    await withChannels((channels) => {
      const all = Array.from({ length: 40 }, () => channels.subscribe("#"));
      expect(() => channels.subscribe("#")).toThrow(TooManySubscribersError);
      all[0]?.close();
      channels.subscribe("#").close();
      expect(channels.status.subscribers).toBe(39);
      return Promise.resolve();
    });
  });

  test("closes its subscriptions when it stops, later ones too", async () => {
    await withChannels(async (channels) => {
      const subscription = channels.subscribe("#");
      const next = subscription.next();
      channels.endSubscriptions();
      expect(await next).toEqual([]);
      expect(subscription.isClosed).toBe(true);
      expect(channels.subscribe("#").isClosed).toBe(true);
    });
  });
});
