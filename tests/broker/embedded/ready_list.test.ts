/** The order of waiting messages, against a list that is sorted each time. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Entry, type EntryHome } from "../../../src/broker/embedded/entry.ts";
import { HandOutMark } from "../../../src/broker/embedded/hand_out_mark.ts";
import { ReadyList } from "../../../src/broker/embedded/ready_list.ts";

const PRIORITIES = 3;

/** A queue that takes no part. */
const home: EntryHome = {
  name: "q",
  diskId: 1,
  settle: () => undefined,
  reject: () => undefined,
  giveBack: () => undefined,
  withdraw: () => undefined,
  pump: () => undefined,
};
const marks = Array.from({ length: PRIORITIES }, (_, priority) => new HandOutMark(home, priority));

function entryOf(id: number, priority: number): Entry {
  const mark = marks[priority];
  if (mark === undefined) throw new Error(`no priority ${priority}`);
  return new Entry(id, home, undefined, mark, Infinity, 0);
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("new"), at: fc.nat(PRIORITIES - 1) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("take"), at: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("give back"), at: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("expire"), at: fc.nat(10) }) },
);

test("ReadyList gives by priority, then by id, whatever comes, goes and comes back", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const list = new ReadyList(PRIORITIES - 1);
      let model: Entry[] = [];
      const held: Entry[] = [];
      let id = 0;
      const put = (entry: Entry) => {
        entry.place = "ready";
        list.push(entry);
        model = [...model, entry].sort((a, b) => b.priority - a.priority || a.id - b.id);
      };
      for (const { kind, at } of steps) {
        if (kind === "new") put(entryOf(++id, at));
        if (kind === "take") {
          const entry = list.peek();
          expect(entry).toBe(model[0]);
          if (entry === undefined) continue;
          entry.place = "held";
          list.dropFirst(entry);
          model.shift();
          held.push(entry);
        }
        if (kind === "give back") held.splice(at, 1).forEach(put);
        if (kind === "expire") {
          for (const entry of model.splice(at, 1)) {
            entry.place = "gone";
            list.noteGap(entry);
          }
        }
        expect(list.count).toBe(model.length);
      }
      expect(list.all()).toEqual(model);
    }),
    { numRuns: 500 },
  );
});

test("ReadyList keeps its order past the size where it tidies up", () => {
  const list = new ReadyList(0);
  const entries = Array.from({ length: 10_000 }, (_, at) => entryOf(at + 1, 0));
  for (const entry of entries) {
    entry.place = "ready";
    list.push(entry);
  }
  for (const entry of entries.filter(({ id }) => id % 3 !== 0)) {
    entry.place = "gone";
    list.noteGap(entry);
  }
  expect(list.ahead(0, 10)?.id).toBe(33);
  expect(list.ahead(0, 1_000_000)?.id).toBe(9999);
  const taken: number[] = [];
  for (let entry = list.peek(); entry !== undefined; entry = list.peek()) {
    entry.place = "held";
    list.dropFirst(entry);
    taken.push(entry.id);
  }
  expect(taken).toEqual(Array.from({ length: 3333 }, (_, at) => (at + 1) * 3));
});
