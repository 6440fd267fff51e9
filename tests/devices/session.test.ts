import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SessionScene } from "./session_scene.ts";

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `c${index}`);

describe("a session's lines", () => {
  test("the first is its greeting where it has no id; empty ones are signs of life alone", () => {
    const scene = new SessionScene("");
    scene.says("who I am\r\n\n\r\n");
    scene.says("21.5\n");
    expect(scene.lines).toEqual(["greeting who I am", "21.5"]);
  });

  test("any byte moves the time when it was seen", () => {
    const scene = new SessionScene();
    scene.clock.advance(1_000);
    scene.says("h");
    expect(scene.session.seenAt - scene.session.connectedAt).toBe(1_000);
    expect(scene.lines).toEqual([]);
  });

  test("one that is too long ends it, with a word; what came before counts", () => {
    const scene = new SessionScene();
    scene.says(`fine\n${"x".repeat(70)}`);
    expect(scene.lines).toEqual(["fine"]);
    expect(scene.reasons).toEqual(["line-too-long"]);
    expect(scene.written).toEqual(["error: a line is longer than 64 bytes"]);
    scene.says("\nmore\n");
    expect(scene.lines).toEqual(["fine"]);
  });

  test("half a line at the end is no line", () => {
    const scene = new SessionScene();
    scene.says("whole\nhal");
    scene.session.closed(false);
    expect([scene.lines, scene.reasons, scene.timesLeft]).toEqual([["whole"], ["closed"], 1]);
  });
});

describe("a session's commands", () => {
  test("are handled when they are written", () => {
    const scene = new SessionScene();
    for (const cmd of numbered(3)) scene.send(cmd);
    expect(scene.written).toEqual(["c0", "c1", "c2"]);
    expect([...scene.endings.values()]).toEqual(Array(3).fill(["handled", "written"]));
  });

  test("one that waits for a reply keeps the next back until the reply, or its time is over", () => {
    const scene = new SessionScene();
    scene.send("first", 1_000);
    scene.send("second", 1_000);
    scene.send("third");
    expect(scene.written).toEqual(["first"]);
    scene.says("answer\n");
    expect(scene.endings.get("first")).toEqual(["handled", "replied"]);
    expect(scene.written).toEqual(["first", "second"]);
    scene.clock.advance(1_000);
    expect(scene.endings.get("second")).toEqual(["handled", "no-reply"]);
    expect(scene.written).toEqual(["first", "second", "third"]);
    scene.says("late\n");
    expect(scene.lines).toEqual(["answer", "late"]);
  });

  test("beyond 16 that wait, nothing is taken", () => {
    const scene = new SessionScene();
    scene.send("slow", 60_000);
    for (const cmd of numbered(17)) scene.send(cmd);
    expect(scene.endings.get("c15")).toEqual([]);
    expect(scene.endings.get("c16")).toEqual(["handled", "busy"]);
  });

  test("one that nobody waits for makes room: written, it ends; waiting, it is never written", () => {
    const scene = new SessionScene();
    scene.send("slow", 60_000);
    scene.send("waits", 60_000);
    scene.send("next");
    scene.session.release("nobody's");
    scene.session.release("waits");
    expect(scene.endings.get("waits")).toEqual(["handled", "busy"]);
    scene.session.release("slow");
    expect(scene.endings.get("slow")).toEqual(["handled", "no-reply"]);
    expect(scene.written).toEqual(["slow", "next"]);
    scene.session.release("next");
    expect(scene.endings.get("next")).toEqual(["handled", "written"]);
    scene.session.closed(false);
    expect(scene.clock.timers).toBe(0);
  });

  test("one that waits too long for others was not written, and says so", () => {
    const scene = new SessionScene();
    scene.send("slow", 60_000);
    scene.send("waits");
    scene.clock.advance(5_000);
    expect(scene.endings.get("waits")).toEqual(["handled", "busy"]);
    expect(scene.endings.get("slow")).toEqual(["handled"]);
    scene.says("at last\n");
    expect(scene.written).toEqual(["slow"]);
  });

  test("a device that reads slowly gets the rest when it does", () => {
    const scene = new SessionScene();
    scene.connection.room = 2;
    scene.send("first");
    scene.send("second");
    expect(scene.endings.get("first")).toEqual([]);
    scene.connection.room = 2;
    scene.session.drained();
    scene.clock.advance(4_000);
    scene.reads();
    expect(scene.written).toEqual(["first", "second"]);
    expect(scene.endings.get("second")).toEqual(["handled", "written"]);
    scene.clock.advance(60_000);
    expect(scene.reasons).toEqual([]);
  });

  test("one that does not read is cut: the first is lost, the others never began", () => {
    const scene = new SessionScene();
    scene.connection.room = 2;
    scene.send("first");
    scene.clock.advance(1_000);
    scene.send("second");
    scene.clock.advance(4_000);
    expect(scene.reasons).toEqual(["not-reading"]);
    expect(scene.connection.ending).toBe("terminated");
    expect(scene.endings.get("first")).toEqual(["handled", "lost"]);
    expect(scene.endings.get("second")).toEqual(["handled", "busy"]);
    scene.send("late");
    expect(scene.endings.get("late")).toEqual(["handled", "lost"]);
  });

  test("it ends for the reason that it was ended for, though its connection closes at once", () => {
    const scene = new SessionScene();
    scene.connection.closes = () => scene.session.closed(false);
    scene.session.end("replaced", "why");
    expect([scene.reasons, scene.timesLeft]).toEqual([["replaced"], 1]);
  });

  test("its end is told in a line of its own, never in the middle of another", () => {
    const whole = new SessionScene();
    whole.session.end("replaced", "why");
    expect([whole.written, whole.connection.ending]).toEqual([["error: why"], "ended"]);
    const half = new SessionScene();
    half.connection.room = 2;
    half.send("first");
    half.session.end("replaced", "why");
    expect([half.connection.text, half.connection.ending]).toEqual(["fi", "terminated"]);
  });

  test("whatever happens, each is handled once and ends once, in order, and no timer is left", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("send" as const), reply: fc.boolean() }),
      fc.record({ kind: fc.constant("say" as const), text: fc.constantFrom("a", "b\n", "\n") }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 900, 4_000) }),
      fc.record({ kind: fc.constant("room" as const), bytes: fc.nat({ max: 9 }) }),
      fc.record({ kind: fc.constant("read" as const) }),
      fc.record({ kind: fc.constant("release" as const), back: fc.nat({ max: 3 }) }),
      fc.record({ kind: fc.constant("end" as const) }),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const scene = new SessionScene();
      let sent = 0;
      for (const step of steps) {
        switch (step.kind) {
          case "send":
            scene.send(`c${sent++}`, step.reply ? 1_000 : undefined);
            break;
          case "say":
            scene.says(step.text);
            break;
          case "wait":
            scene.clock.advance(step.ms);
            break;
          case "room":
            scene.connection.room = step.bytes;
            break;
          case "release":
            scene.session.release(`c${sent - 1 - step.back}`);
            break;
          case "read":
            scene.reads();
            break;
          case "end":
            scene.session.end("idle");
        }
      }
      scene.session.closed(false);
      for (const told of scene.endings.values()) {
        expect(told[0]).toBe("handled");
        expect(told).toHaveLength(2);
      }
      const written = scene.written.map((cmd) => Number(cmd.slice(1)));
      expect(written).toEqual(written.toSorted((a, b) => a - b));
      for (const [cmd, [, ending]] of scene.endings) {
        if (ending === "busy") expect(scene.written).not.toContain(cmd);
        if (ending === "written" || ending === "replied") expect(scene.written).toContain(cmd);
      }
      expect([scene.reasons.length, scene.timesLeft, scene.clock.timers]).toEqual([1, 1, 0]);
    }));
  });
});
