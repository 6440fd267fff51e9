import { describe, expect, test } from "bun:test";
import type { HttpOptions } from "../../src/http/app.ts";
import { front, problemOf } from "./front.ts";

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
}

/** The response to a call, and whether it reached the caller. */
async function ask(options: Partial<HttpOptions>, { method = "POST", path, headers }: Asked) {
  const { app, caller } = front({ options });
  const response = await app.request(path ?? (method === "POST" ? "/tasks/t/call" : "/tasks"), {
    method,
    ...(headers === undefined ? {} : { headers }),
  });
  return { response, status: response.status, called: caller.seen.length };
}

describe("a front without a token on loopback", () => {
  const allowed: [why: string, headers: Record<string, string>][] = [
    ["curl", { host: "127.0.0.1:8888" }],
    ["curl -d", { host: "localhost", "content-type": "application/x-www-form-urlencoded" }],
    ["no Host (HTTP/1.0)", {}],
    ["IPv6", { host: "[::1]:8888" }],
    ["another loopback address", { host: "127.8.9.1:8888" }],
    ["a name under localhost", { host: "front.localhost:8888" }],
    ["its own page", { host: "localhost:8888", origin: "http://localhost:8888" }],
    [
      "its own page behind a proxy that renames the host",
      {
        host: "127.0.0.1:8888",
        origin: "https://app.example.org",
        "sec-fetch-site": "same-origin",
      },
    ],
    ["what the user typed", { host: "localhost:8888", "sec-fetch-site": "none" }],
  ];
  for (const [why, headers] of allowed) {
    test(`lets in ${why}`, async () => {
      expect(await ask({}, { headers })).toMatchObject({ status: 200, called: 1 });
    });
  }

  const refused: [why: string, headers: Record<string, string>][] = [
    ["another site's page", { host: "localhost:8888", origin: "https://evil.example" }],
    [
      "another site's simple request",
      { host: "127.0.0.1:8888", origin: "https://evil.example", "content-type": "text/plain" },
    ],
    ["a page on another port", { host: "localhost:8888", origin: "http://localhost:3000" }],
    ["a page on the same port's other name", {
      host: "127.0.0.1:8888",
      origin: "http://localhost:8888",
    }],
    ["a sandboxed page", { host: "localhost:8888", origin: "null" }],
    ["an empty origin", { host: "localhost:8888", origin: "" }],
    ["a cross-site request", { host: "localhost:8888", "sec-fetch-site": "cross-site" }],
    ["a same-site request", {
      host: "localhost:8888",
      origin: "http://localhost:3000",
      "sec-fetch-site": "same-site",
    }],
    ["a cross-site request that claims our origin", {
      host: "localhost:8888",
      origin: "http://localhost:8888",
      "sec-fetch-site": "cross-site",
    }],
    ["a rebound name", { host: "evil.example:8888", origin: "http://evil.example:8888" }],
    ["a rebound name without an origin", { host: "evil.example" }],
    ["a rebound name that says same-origin", {
      host: "evil.example:8888",
      "sec-fetch-site": "same-origin",
    }],
    ["a name that only begins like ours", { host: "localhost.evil.example" }],
    ["a name that only begins like an address", { host: "127.0.0.1.evil.example" }],
    ["two hosts", { host: "localhost, evil.example" }],
    ["an empty host", { host: "" }],
    ["a user in the host", { host: "localhost@evil.example" }],
    ["another address of this machine", { host: "192.168.1.5:8888" }],
  ];
  for (const [why, headers] of refused) {
    test(`keeps out ${why}`, async () => {
      const { response, called } = await ask({}, { headers });
      expect(response.status).toBe(403);
      expect((await problemOf(response)).type).toBe("/problems/forbidden");
      expect(called).toBe(0);
    });
  }

  test("keeps a rebound name from reading too, but lets probes ask for health", async () => {
    const headers = { host: "evil.example" };
    expect((await ask({}, { method: "GET", headers })).status).toBe(403);
    for (const path of ["/healthz", "/readyz"]) {
      const { response, status } = await ask({}, { method: "GET", path, headers });
      expect(status).toBe(200);
      expect(Object.keys(await response.json())).toEqual(["status"]);
    }
  });

  test("lets pages of other origins send reads, whose answers browsers keep from them", async () => {
    const headers = { host: "localhost", origin: "https://evil.example" };
    const { response } = await ask({}, { method: "GET", headers });
    expect(response.status).toBe(200);
    expect(response.headers.has("access-control-allow-origin")).toBe(false);
  });

  test("judges the opening of a WebSocket as a change", async () => {
    const headers = { host: "localhost", origin: "https://evil.example", upgrade: "websocket" };
    expect((await ask({}, { method: "GET", headers })).status).toBe(403);
  });

  test("refuses a read with a body", async () => {
    const chunked = { host: "localhost", "transfer-encoding": "chunked" };
    expect((await ask({}, { method: "GET", headers: chunked })).status).toBe(400);
    const announced = { host: "localhost", "content-length": "9" };
    expect((await ask({}, { method: "GET", headers: announced })).status).toBe(400);
    const empty = { host: "localhost", "content-length": "0" };
    expect((await ask({}, { method: "GET", headers: empty })).status).toBe(200);
  });
});

test("a front that was opened to everybody takes any host, and still no other origin", async () => {
  const host = "front.example:8888";
  const open = { host: "0.0.0.0" };
  expect((await ask(open, { headers: { host } })).status).toBe(200);
  expect((await ask(open, { headers: { host, origin: `http://${host}` } })).status).toBe(200);
  expect((await ask(open, { headers: { host, origin: "https://evil.example" } })).status).toBe(403);
});

describe("a front with tokens", () => {
  const tokens = { token: "sesame", readToken: "peep" };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  test("lets the token do everything, under any host", async () => {
    const headers = { ...bearer("sesame"), host: "front.example" };
    expect((await ask(tokens, { headers })).status).toBe(200);
    expect((await ask(tokens, { method: "GET", headers })).status).toBe(200);
    expect((await ask(tokens, { headers: { authorization: "bearer  sesame" } })).status).toBe(200);
  });

  test("lets the read token read, and answers 403 when it would do more", async () => {
    const headers = bearer("peep");
    expect((await ask(tokens, { method: "GET", headers })).status).toBe(200);
    expect((await ask(tokens, { method: "HEAD", path: "/tasks", headers })).status).toBe(200);
    const { response, called } = await ask(tokens, { headers });
    expect(response.status).toBe(403);
    expect(response.headers.get("www-authenticate")).toContain("insufficient_scope");
    expect(called).toBe(0);
  });

  const wrong: [why: string, authorization: string | undefined][] = [
    ["none", undefined],
    ["another", "Bearer sesam"],
    ["one with more after it", "Bearer sesamee"],
    ["one in capitals", "Bearer SESAME"],
    ["an empty one", "Bearer "],
    ["another scheme", "Basic c2VzYW1l"],
    ["no scheme", "sesame"],
    ["two", "Bearer peep sesame"],
  ];
  for (const [why, authorization] of wrong) {
    test(`answers 401 to ${why}`, async () => {
      for (const method of ["GET", "POST"]) {
        const { response, called } = await ask(tokens, {
          method,
          ...(authorization === undefined ? {} : { headers: { authorization } }),
        });
        expect(response.status).toBe(401);
        expect(response.headers.get("www-authenticate")).toStartWith('Bearer realm="coxswain"');
        const text = JSON.stringify(await problemOf(response));
        expect(text).not.toContain("sesame");
        expect(called).toBe(0);
      }
    });
  }

  test("keeps pages of other origins out even with the token", async () => {
    const headers = { ...bearer("sesame"), host: "a.example", origin: "https://evil.example" };
    expect((await ask(tokens, { headers })).status).toBe(403);
  });

  test("answers strangers on unknown routes with 401, and health with no details", async () => {
    expect((await ask(tokens, { method: "GET", path: "/nope" })).status).toBe(401);
    const { response } = await ask(tokens, { method: "GET", path: "/readyz" });
    expect(await response.json()).toEqual({ status: "ready" });
  });

  test("with a read token alone can only be read", async () => {
    const readOnly = { readToken: "peep" };
    expect((await ask(readOnly, { method: "GET", headers: bearer("peep") })).status).toBe(200);
    expect((await ask(readOnly, { headers: bearer("peep") })).status).toBe(403);
    expect((await ask(readOnly, {})).status).toBe(401);
  });
});
