/** Where a subscriber goes on: on the same front, on another one, and after what is gone. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type ChannelEvent,
  type HeardMessage,
  readMessage,
} from "../../src/pubsub/channel_event.ts";
import { MessageIds } from "../../src/pubsub/message_id.ts";
import { ReplayLog } from "../../src/pubsub/replay_log.ts";
import { FakeClock } from "../support/fake_clock.ts";

const LIMITS = { maxMessages: 1_000, maxBytes: 1_000_000, maxAgeMs: 60_000 };
const START = 1_790_000_000_000;
const all = () => true;
const noId = () => {
  throw new Error("Every message here has an id");
};

function heard(messageId: string, channel = "a", appId = "coxswain"): HeardMessage {
  const body = new TextEncoder().encode(`"${messageId}"`);
  const properties = { messageId, appId, contentType: "application/json" };
  return readMessage(
    { exchange: "cox.pubsub", routingKey: channel, properties, body },
    START,
    noId,
  );
}

/** Ids of what a resumption gives, with the reasons of gaps. */
function given(log: ReplayLog, after: string, matches: (channel: string) => boolean = all) {
  const { first, seqs } = log.resume(after, matches);
  const events = [...first, ...seqs.map((seq) => log.at(seq))];
  return events.map((event) => event?.kind === "gap" ? event.reason : event?.id);
}

/** A front that has been there for a while. */
function front(clock: FakeClock, limits = LIMITS): ReplayLog {
  return new ReplayLog(limits, clock);
}

describe("ReplayLog.resume() on the same front", () => {
  test("gives what followed, whatever was kept", () => {
    const clock = new FakeClock(START);
    const log = front(clock, { ...LIMITS, maxMessages: 5 });
    const ids = new MessageIds(clock, "message");
    const sent = Array.from({ length: 12 }, () => ids.next());
    for (const id of sent) log.append(heard(id));
    log.forget();
    expect(given(log, sent[9] ?? "")).toEqual(sent.slice(10));
    // The last that is gone is known as the place before the first that is kept.
    expect(given(log, sent[6] ?? "")).toEqual(sent.slice(7));
    expect(given(log, sent[5] ?? "")).toEqual(["not_kept", ...sent.slice(7)]);
    expect(given(log, "nonsense")).toEqual(["not_kept", ...sent.slice(7)]);
    expect(given(log, log.position)).toEqual([]);
  });

  test("gives what is of the pattern alone", () => {
    const clock = new FakeClock(START);
    const log = front(clock);
    const ids = new MessageIds(clock, "message");
    const sent = Array.from({ length: 6 }, () => ids.next());
    for (const [index, id] of sent.entries()) log.append(heard(id, index % 2 ? "odd" : "even"));
    expect(given(log, sent[1] ?? "", (channel) => channel === "odd")).toEqual([sent[3], sent[5]]);
  });

  test("has places before anything came, and at gaps", () => {
    const clock = new FakeClock(START);
    const log = front(clock);
    const ids = new MessageIds(clock, "message");
    const opening = log.position;
    const first = ids.next();
    log.append(heard(first));
    log.appendGap();
    const gap = log.position;
    const second = ids.next();
    log.append(heard(second));
    expect(given(log, opening)).toEqual([first, "broker_away", second]);
    expect(given(log, gap)).toEqual([second]);
  });

  test("goes on after ids of strangers too", () => {
    const log = front(new FakeClock(START));
    for (const id of ["one", "two", "three~x"]) log.append(heard(id, "a", "stranger"));
    expect(given(log, "one")).toEqual(["two", "three~x"]);
    expect(given(log, "three~x")).toEqual([]);
  });

  test("forgets by age, and by bytes", async () => {
    const clock = new FakeClock(START);
    const log = front(clock, { ...LIMITS, maxBytes: 2_000 });
    const ids = new MessageIds(clock, "message");
    for (let i = 0; i < 10; i++) log.append(heard(ids.next()));
    log.forget();
    expect(log.size).toBeLessThan(5);
    expect(log.size).toBeGreaterThan(0);
    await clock.advance(61_000);
    log.forget();
    expect(log.size).toBe(0);
  });
});

describe("ReplayLog.resume() on another front", () => {
  test("waits for a message that is underway, and for nothing else", async () => {
    const clock = new FakeClock(START);
    const log = front(clock);
    await clock.advance(5_000);
    const ids = new MessageIds(clock, "message");
    const [seen, underway] = [ids.next(), ids.next()];
    log.append(heard(seen));
    const resumed = log.resume(underway, all);
    expect(resumed).toMatchObject({ first: [], seqs: [] });
    expect(resumed.skip.size).toBe(1);
    // One of before this front was there will not come.
    const old = new MessageIds({ now: () => START - 3_000 }, "message").next();
    expect(given(log, old)).toEqual(["not_kept", seen]);
    // One that claims to be of tomorrow neither.
    const late = new MessageIds({ now: () => START + 86_400_000 }, "message").next();
    expect(log.resume(late, all).skip.size).toBe(0);
  });

  test("waits at once for who was heard, and not after a time of deafness", () => {
    const clock = new FakeClock(START);
    const log = front(clock);
    const ids = new MessageIds(clock, "message");
    log.append(heard(ids.next()));
    const underway = ids.next();
    expect(log.resume(underway, all).skip.size).toBe(1);
    log.appendGap();
    expect(given(log, underway)).toEqual(["not_kept", "broker_away"]);
  });

  test("goes on by time from a place that only the other front knows", async () => {
    const clock = new FakeClock(START);
    const [one, other] = [front(clock), front(clock)];
    const ids = new MessageIds(clock, "message");
    const before = ids.next();
    for (const log of [one, other]) log.append(heard(before));
    await clock.advance(5_000);
    one.appendGap();
    const place = one.position;
    await clock.advance(5_000);
    const after = ids.next();
    for (const log of [one, other]) log.append(heard(after));
    expect(given(other, place)).toEqual([after]);
  });

  test("loses nothing, however the messages of several publishers crossed", async () => {
    const scene = fc.record({
      publishers: fc.integer({ min: 1, max: 6 }),
      /** Which publisher comes next, on one front and on the other. */
      one: fc.array(fc.nat(5), { maxLength: 60 }),
      other: fc.array(fc.nat(5), { maxLength: 60 }),
      /** How much is read before each change of the front. */
      reads: fc.array(fc.nat(20), { maxLength: 6 }),
      wasSilent: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(scene, async ({ publishers, one, other, reads, wasSilent }) => {
        const clock = new FakeClock(START);
        const makers = Array.from({ length: publishers }, () => new MessageIds(clock, "message"));
        const fronts = [front(clock), front(clock)] as const;
        for (const ids of makers) {
          const id = ids.next();
          for (const log of fronts) log.append(heard(id));
        }
        const start = fronts[0].position;
        if (wasSilent) await clock.advance(20_000);
        const published = makers.map((ids) => Array.from({ length: 10 }, () => ids.next()));
        for (const id of interleaved(published, one)) fronts[0].append(heard(id));
        for (const id of interleaved(published, other)) fronts[1].append(heard(id));

        const got: (string | undefined)[] = [];
        let position = start;
        for (const [turn, read] of [...reads, Infinity].entries()) {
          const log = fronts[turn % 2 === 0 ? 0 : 1];
          const { first, seqs } = log.resume(position, all);
          const events: readonly (ChannelEvent | undefined)[] = [
            ...first,
            ...seqs.map((seq) => log.at(seq)),
          ];
          // Those that crossed are written together.
          for (const event of events.slice(0, first.length + read)) {
            got.push(event?.kind === "message" ? event.id : event?.reason);
            position = event?.position ?? position;
          }
        }
        expect([...new Set(got)].toSorted()).toEqual(published.flat().toSorted());
        // Who goes on to a third front at once may be told again what it saw on the first.
        if (reads.length < 2) expect(got.length).toBe(published.flat().length);
      }),
      { numRuns: 300 },
    );
  }, 30_000);
});

/** One order of all messages that keeps each publisher's own. */
function interleaved(
  published: readonly (readonly string[])[],
  choices: readonly number[],
): string[] {
  const queues = published.map((ids) => [...ids]);
  const order: string[] = [];
  for (const choice of choices) {
    const id = queues[choice % queues.length]?.shift();
    if (id !== undefined) order.push(id);
  }
  return [...order, ...queues.flat()];
}
