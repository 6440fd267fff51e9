/** Channels of a front on a real broker: order, replay, gaps and bounds. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { newId } from "../../src/platform/ids.ts";
import type { ChannelEvent } from "../../src/pubsub/channel_event.ts";
import { Channels, TooManySubscribersError } from "../../src/pubsub/channels.ts";
import type { Subscription } from "../../src/pubsub/subscription.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { FakeClock } from "../support/fake_clock.ts";

const LIMITS = {
  replay: { maxMessages: 100, maxBytes: 1_000_000, maxAgeMs: 60_000 },
  backlog: { maxMessages: 50, maxBytes: 100_000 },
  maxSubscribers: 40,
};
const payload = (value: unknown) => ({
  contentType: "application/json",
  body: new TextEncoder().encode(JSON.stringify(value)),
});

/** Takes events until there are so many. */
async function taken(subscription: Subscription, count: number): Promise<ChannelEvent[]> {
  const events: ChannelEvent[] = [];
  while (events.length < count) {
    await subscription.ready();
    events.push(...subscription.take());
  }
  return events;
}

const values = (events: readonly ChannelEvent[]) =>
  events.map((event) =>
    event.kind === "gap" ? event.reason : JSON.parse(new TextDecoder().decode(event.body))
  );

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
      const before = channels.position();
      expect(channels.position()).toBe(before);
      await publish("a", 1);
      using witness = channels.subscribe("a", before);
      expect(values(await taken(witness, 1))).toEqual([1]);
      const [event] = await taken(channels.subscribe("a", before), 1);
      expect(event?.kind === "message" && channels.position() === event.id).toBe(true);
    });
  });

  test("tells a gap to who has seen what is forgotten, then what is kept", async () => {
    await withChannels(async (channels, publish) => {
      using witness = channels.subscribe("#");
      const first = await publish("a", 0);
      for (let i = 1; i <= 150; i++) {
        await publish("a", i);
        await taken(witness, 1);
      }
      using later = channels.subscribe("a", first);
      const got = values(later.take());
      expect(got[0]).toBe("too_slow");
      using roomy = channels.subscribe("b", first);
      expect(values(roomy.take())).toEqual(["not_kept"]);
    });
  });

  test("tells no gap to who comes from another front and has missed nothing", async () => {
    await withChannels(async (channels, publish) => {
      await publish("a", 1);
      await Bun.sleep(2);
      const elsewhere = newId();
      await Bun.sleep(2);
      await publish("a", 2);
      using witness = channels.subscribe("#", channels.position());
      using other = channels.subscribe("a", elsewhere);
      await publish("a", 3);
      await taken(witness, 1);
      expect(values(await taken(other, 2))).toEqual([2, 3]);
      using stranger = channels.subscribe("a", "not-an-id-of-ours");
      expect(values(stranger.take())[0]).toBe("not_kept");
    });
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
      const missed = gap?.kind === "gap" ? gap.missed ?? 0 : 0;
      expect(gap).toMatchObject({ kind: "gap", reason: "too_slow" });
      expect(missed + rest.length).toBe(130);
      expect(values(rest)).toEqual(Array.from({ length: rest.length }, (_, i) => missed + i));
    });
  });

  test("bounds a backlog by bytes too", async () => {
    await withChannels(async (channels, publish) => {
      using slow = channels.subscribe("#");
      using quick = channels.subscribe("#");
      for (let i = 0; i < 3; i++) {
        await publish("a", "x".repeat(60_000));
        await taken(quick, 1);
      }
      expect(slow.take()[0]).toMatchObject({ kind: "gap", reason: "too_slow" });
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
      const ready = subscription.ready();
      channels.endSubscriptions();
      await ready;
      expect(subscription.isClosed).toBe(true);
      expect(channels.subscribe("#").isClosed).toBe(true);
    });
  });
});
