import { describe, expect, test } from "bun:test";
import type {
  DeclareEnding,
  Exchanges,
  OutgoingMessage,
  PublishEnding,
  PublishSettings,
} from "../../src/messages/exchanges.ts";
import { front, post, problemOf } from "./front.ts";

class Recorded implements Exchanges {
  readonly published: (readonly [OutgoingMessage, PublishSettings])[] = [];
  readonly declared: unknown[] = [];
  publishEnding: PublishEnding = { kind: "published", isRouted: true };
  declareEnding: DeclareEnding = { kind: "declared" };

  publish(message: OutgoingMessage, settings: PublishSettings): Promise<PublishEnding> {
    this.published.push([message, settings]);
    return Promise.resolve(this.publishEnding);
  }

  declare(...given: unknown[]): Promise<DeclareEnding> {
    this.declared.push(given);
    return Promise.resolve(this.declareEnding);
  }

  get last(): OutgoingMessage {
    const [message] = this.published.at(-1) ?? [];
    if (message === undefined) throw new Error("nothing was published");
    return message;
  }
}

function scene() {
  const exchanges = new Recorded();
  const { app } = front({ exchanges });
  const send = (
    path: string,
    body: RequestInit["body"] = "{}",
    headers: Record<string, string> = {},
  ) => app.request(path, { method: "POST", body: body ?? null, headers });
  return { exchanges, send };
}

describe("POST /exchanges/{exchange}", () => {
  test("publishes the body with key, headers and persistence, and waits", async () => {
    const { exchanges, send } = scene();
    const response = await send(
      "/exchanges/my%2Fshop?key=order.1.paid&header=color:red&header=size:%20big",
      '{"a":1}',
      { "x-tenant": "t", traceparent: "00-1", cookie: "secret", authorization: "Bearer x" },
    );
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      exchange: "my/shop",
      key: "order.1.paid",
      isRouted: true,
    });
    expect(exchanges.published).toEqual([[{
      exchange: "my/shop",
      key: "order.1.paid",
      body: new TextEncoder().encode('{"a":1}'),
      contentType: "application/json",
      headers: { "x-tenant": "t", traceparent: "00-1", color: "red", size: "big" },
      persistent: true,
    }, { isAwaited: true }]]);
    expect(exchanges.declared).toEqual([]);
  });

  const bytes = new Uint8Array([0xff, 0]);
  const bodies:
    readonly (readonly [string | Uint8Array<ArrayBuffer>, string | undefined, string])[] = [
      ["{}", "application/json", "application/json"],
      ["[1]", "application/cloudevents+json; charset=utf-8", "application/json"],
      ["[1]", "application/x-www-form-urlencoded", "application/json"],
      ["a=1", "application/x-www-form-urlencoded", "text/plain"],
      ["12", "text/plain; charset=utf-8", "text/plain"],
      ["", "text/plain", "text/plain"],
      [bytes, "application/octet-stream", "application/octet-stream"],
      [bytes, "image/png", "image/png"],
    ];
  for (const [body, contentType, published] of bodies) {
    test(`takes ${JSON.stringify(body)} of ${contentType} as ${published}`, async () => {
      const { exchanges, send } = scene();
      const headers = contentType === undefined ? {} : { "content-type": contentType };
      expect((await send("/exchanges/e", body, headers)).status).toBe(200);
      expect(exchanges.last.contentType).toBe(published);
      const sent = typeof body === "string" ? new TextEncoder().encode(body) : body;
      expect(exchanges.last.body).toEqual(sent);
    });
  }

  test("does not wait with ?wait=false, and answers 202", async () => {
    const { exchanges, send } = scene();
    exchanges.publishEnding = { kind: "published" };
    const response = await send("/exchanges/e?wait=false&persistent=false");
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ exchange: "e", key: "" });
    expect(exchanges.published[0]?.[1]).toEqual({ isAwaited: false });
    expect(exchanges.last.persistent).toBe(false);
  });

  test("declares the exchange first with ?type=", async () => {
    const { exchanges, send } = scene();
    expect((await send("/exchanges/e?type=topic")).status).toBe(200);
    expect((await send("/exchanges/e?type=fanout&durable=false")).status).toBe(200);
    expect(exchanges.declared).toEqual([["e", "topic", true], ["e", "fanout", false]]);
    exchanges.declareEnding = { kind: "mismatch", message: "it is a fanout" };
    const problem = await problemOf(await send("/exchanges/e?type=topic"));
    expect(problem).toMatchObject({ status: 409, type: "/problems/exchange-differs" });
    expect(exchanges.published).toHaveLength(2);
  });

  const endings: readonly (readonly [PublishEnding, number, string])[] = [
    [{ kind: "bad_name", message: "m" }, 400, "reserved-name"],
    [{ kind: "unknown_exchange", message: "m" }, 404, "unknown-exchange"],
    [{ kind: "refused", message: "m" }, 400, "refused"],
    [{ kind: "broker_away", message: "m" }, 503, "broker-away"],
  ];
  for (const [ending, status, name] of endings) {
    test(`tells ${ending.kind} as ${status}`, async () => {
      const { exchanges, send } = scene();
      exchanges.publishEnding = ending;
      const problem = await problemOf(await send("/exchanges/e"));
      expect(problem).toMatchObject({
        status,
        type: `/problems/${name}`,
        detail: "m",
        exchange: "e",
      });
    });
  }

  const refused: readonly (readonly [string, string, RegExp])[] = [
    ["/exchanges/e?type=", "{}", /"type" is "": expected one of fanout, topic, direct, headers/],
    ["/exchanges/e?type=topik", "{}", /"topik"/],
    ["/exchanges/e?wait=perhaps", "{}", /"wait" is "perhaps": expected true or false/],
    ["/exchanges/e?key=a&key=b", "{}", /"key" is given twice/],
    ["/exchanges/e?routing=a", "{}", /Unknown option "routing": there are key, .*header/],
    ["/exchanges/e?header=novalue", "{}", /expected NAME:VALUE/],
    ["/exchanges/e", "{oops", /not JSON/],
    ["/exchanges/%ff", "{}", /percent-encoded/],
  ];
  for (const [path, body, detail] of refused) {
    test(`refuses ${path} with ${body}`, async () => {
      const { exchanges, send } = scene();
      const problem = await problemOf(
        await send(path, body, { "content-type": "application/json" }),
      );
      expect(problem.status).toBe(400);
      expect(problem.detail).toMatch(detail);
      expect(exchanges.published).toEqual([]);
    });
  }

  test("takes the missing name to whoever judges names", async () => {
    for (const path of ["/exchanges/", "/exchanges"]) {
      const { exchanges, send } = scene();
      exchanges.publishEnding = { kind: "bad_name", message: "must not be empty" };
      expect((await send(path)).status).toBe(400);
      expect(exchanges.last.exchange).toBe("");
    }
  });

  test("refuses a body over the limit", async () => {
    const { app } = front({ exchanges: new Recorded() });
    const problem = await problemOf(await post(app, "/exchanges/e", "x".repeat(1_001)));
    expect(problem.status).toBe(413);
  });

  test("needs the full token", async () => {
    const { app } = front({
      exchanges: new Recorded(),
      options: { token: "full", readToken: "read" },
    });
    const status = async (token: string) =>
      (await post(app, "/exchanges/e", "{}", { authorization: `Bearer ${token}` })).status;
    expect(await status("read")).toBe(403);
    expect(await status("full")).toBe(200);
  });
});
