/** The plan for a changing prefetch, followed by a model of a channel. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { nextStepAt, planPrefetch } from "../../../src/broker/amqp/prefetch_plan.ts";

/** A consumer whose broker always has more: each subscription is full at once. */
class Model {
  prefetch: number;
  grants: number[];
  /** Unsettled of each subscription. */
  current: number[];
  carried = 0;
  grantedFor: number;
  /** As the consumer does: more unsettled than this call for no look at the plan. */
  adjustsAt = Infinity;
  plannedFor = -1;
  steps = 0;

  constructor(prefetch: number) {
    this.prefetch = prefetch;
    this.grantedFor = prefetch;
    this.grants = [prefetch];
    this.current = [prefetch];
  }

  get unsettled(): number {
    return this.carried + this.current.reduce((sum, held) => sum + held, 0);
  }

  /** Follows the plan until it says to keep. @param refill whether the queue has messages. */
  settle(refill: boolean): void {
    const isQuiet = this.plannedFor === this.prefetch && this.unsettled > this.adjustsAt;
    if (!isQuiet) this.plan(refill);
    if (refill) this.current = [...this.grants];
  }

  plan(refill: boolean): void {
    for (let guard = 0;; guard++) {
      if (guard > 10) throw new Error("The plan does not come to rest");
      const { prefetch, grants, carried, unsettled } = this;
      const isRaised = prefetch > this.grantedFor;
      const step = planPrefetch({ prefetch, isRaised, grants, carried, unsettled });
      if (step.kind !== "restart") this.grantedFor = prefetch;
      if (step.kind === "keep") {
        this.adjustsAt = nextStepAt({ grants, carried });
        this.plannedFor = prefetch;
        return;
      }
      this.steps++;
      if (step.kind === "restart") {
        this.carried = unsettled;
        this.grants = [];
        this.current = [];
      } else {
        this.grants.push(step.size);
        this.current.push(refill ? step.size : 0);
      }
    }
  }

  /** Settles one delivery of those that are held; which one is up to the test. */
  ack(choice: number): void {
    const places = [
      ...Array<number>(this.carried).fill(-1),
      ...this.current.flatMap((held, at) => Array<number>(held).fill(at)),
    ];
    const place = places[choice % Math.max(places.length, 1)];
    if (place === undefined) return;
    if (place === -1) this.carried--;
    else this.current[place] = (this.current[place] ?? 0) - 1;
  }
}

const sizes = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 300 }));
const acts = fc.array(
  fc.oneof(
    fc.record({ act: fc.constant("prefetch" as const), size: sizes }),
    fc.record({ act: fc.constant("ack" as const), choice: fc.nat(10_000) }),
    fc.record({ act: fc.constant("ack" as const), choice: fc.nat(10_000) }),
    fc.record({ act: fc.constant("ack" as const), choice: fc.nat(10_000) }),
  ),
  { maxLength: 120 },
);

test("what is held never grows past the prefetch, and reaches it in the end", () => {
  fc.assert(
    fc.property(sizes, acts, (first, list) => {
      const model = new Model(first);
      for (const step of list) {
        const before = model.unsettled;
        const isRaise = step.act === "prefetch" && step.size > model.prefetch;
        if (step.act === "prefetch") model.prefetch = step.size;
        else model.ack(step.choice);
        model.settle(true);
        expect(model.unsettled).toBeLessThanOrEqual(Math.max(model.prefetch, before));
        expect(model.grants.length).toBeLessThanOrEqual(17);
        if (isRaise) expect(model.unsettled).toBe(Math.max(model.prefetch, before));
      }
      // Everything that was held when the changes ended is settled, and the queue never runs dry.
      for (let times = 0; times < 5; times++) {
        const { carried } = model;
        for (let choice = 0; choice < carried; choice++) {
          model.ack(0);
          model.settle(true);
        }
      }
      expect([model.unsettled, model.carried]).toEqual([model.prefetch, 0]);
    }),
    { numRuns: 1_000 },
  );
});

test("a queue that runs dry leaves one subscription with the whole prefetch", () => {
  fc.assert(fc.property(sizes, acts, (first, list) => {
    const model = new Model(first);
    for (const step of list) {
      if (step.act === "prefetch") model.prefetch = step.size;
      else model.ack(step.choice);
      model.settle(true);
    }
    while (model.unsettled > 0) {
      model.ack(0);
      model.settle(false);
    }
    expect(model.grants).toEqual([model.prefetch]);
  }));
});

test("once it has come to rest, settling calls for no more changes", () => {
  const model = new Model(64);
  model.prefetch = 16;
  model.settle(true);
  for (let times = 0; times < 200; times++) {
    model.ack(0);
    model.settle(true);
  }
  const { steps } = model;
  for (let times = 0; times < 1_000; times++) {
    model.ack(times);
    model.settle(true);
  }
  expect(model.steps).toBe(steps);
});
