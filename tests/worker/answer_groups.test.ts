import { describe, expect, test } from "bun:test";
import { AnswerGroups } from "../../src/worker/answer_groups.ts";
import { FakeClock } from "../support/fake_clock.ts";

function groups() {
  const clock = new FakeClock();
  const answers = new AnswerGroups(clock);
  const sent: number[] = [];
  let count = 0;
  const add = (durationMs: number, isMoreWaiting: boolean) => {
    const number = ++count;
    answers.add(() => sent.push(number), durationMs, isMoreWaiting);
  };
  return { clock, answers, sent, add };
}

describe("answer groups", () => {
  test("answers at once where nothing waits", () => {
    const { sent, add } = groups();
    add(0.1, false);
    expect(sent).toEqual([1]);
  });

  test("hold short attempts' answers while more waits, and send them in order with the last", () => {
    const { sent, add } = groups();
    add(0.1, true);
    add(0.1, true);
    expect(sent).toEqual([]);
    add(0.1, false);
    expect(sent).toEqual([1, 2, 3]);
  });

  test("hold no answer of a long attempt, nor what was held before it", () => {
    const { sent, add } = groups();
    add(0.1, true);
    add(50, true);
    expect(sent).toEqual([1, 2]);
  });

  test("send a full group", () => {
    const { sent, add } = groups();
    for (let i = 0; i < 40; i++) add(0.1, true);
    expect(sent.length).toBe(32);
  });

  test("hold nothing past a millisecond, again and again", () => {
    const { clock, sent, add } = groups();
    for (let i = 1; i <= 3; i++) {
      add(0.1, true);
      clock.advance(1);
      expect(sent.length).toBe(i);
    }
  });

  test("send what is held when they are flushed, once", () => {
    const { clock, answers, sent, add } = groups();
    add(0.1, true);
    answers.flush();
    clock.advance(10);
    expect(sent).toEqual([1]);
  });
});
