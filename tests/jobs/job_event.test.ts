import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeJobEvents,
  encodeJobEvents,
  type JobEvent,
  jobEventKey,
  nextSeq,
} from "../../src/jobs/job_event.ts";
import { anyEvents, Life, lives, request } from "./job_lives.ts";

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("job events on the wire", () => {
  test("come back as they were", () => {
    fc.assert(fc.property(fc.oneof(lives, anyEvents), (events) => {
      if (events.length === 0) return;
      expect(decodeJobEvents(encodeJobEvents(events))).toEqual({
        kind: "events",
        events: [...events],
      });
    }));
  });

  test("are refused where they cannot be read, with the reason and never by an exception", () => {
    const [event] = new Life().accepted().events;
    for (
      const [body, reason] of [
        [new Uint8Array([0xff, 0xfe]), "not JSON"],
        [encode({}), "cannot be read"],
        [encode([]), "cannot be read"],
        [encode([{ ...event, kind: "nonsense" }]), "kind"],
        [encode([{ ...event, attempt: 0 }]), "attempt"],
        [encode([{ ...event, at: 1.5 }]), "at"],
        [encode([event, { ...event, id: "a\0b" }]), "NUL"],
        [encode([{ ...event, id: "x".repeat(256) }]), "id"],
        [encode([{ ...event, request: undefined }]), "request"],
      ] as const
    ) {
      const read = decodeJobEvents(body);
      expect(read.kind).toBe("unusable");
      if (read.kind === "unusable") expect(read.reason).toContain(reason);
    }
    fc.assert(fc.property(fc.json(), (json) => {
      expect(decodeJobEvents(new TextEncoder().encode(json)).kind).toBe("unusable");
    }));
  });

  test("pass over fields that a later version adds", () => {
    const [event] = new Life().accepted(request({ priority: 1 })).events;
    expect(decodeJobEvents(encode([{ ...event, later: { version: true } }])))
      .toEqual({ kind: "events", events: [event as JobEvent] });
  });

  test("are routed by kind and id, and several of them as a group", () => {
    const { events } = new Life({ id: "job-1" }).accepted().started();
    expect(jobEventKey(events.slice(0, 1))).toBe("event.accepted.job-1");
    expect(jobEventKey(events)).toBe("event.group");
  });

  test("are in an order that grows, though the clock does not", () => {
    expect(nextSeq(0, 1_000.7)).toBe(1_000);
    expect(nextSeq(1_000, 1_000)).toBe(1_001);
    expect(nextSeq(5_000, 1_000)).toBe(5_001);
  });
});
