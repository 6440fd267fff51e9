import { describe, expect, test } from "bun:test";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Flags } from "../../src/config/source.ts";
import { Authority } from "../support/certificates.ts";

using authority = new Authority("devices");
const { cert, key } = authority.issue("gateway", { names: "IP:127.0.0.1" });
const FILES: Readonly<Record<string, string>> = {
  "/here/tokens": "# ours\nkiln-7 s3cret\n\n* shared\n",
  "/here/broken": "kiln-7\nkiln-8 a b\nok fine\nk\u00e4ln x\n",
  "/here/empty": "# nobody\n",
  "/here/gw.crt": cert,
  "/here/gw.key": key,
};

function load(mode: "all" | "serve" | "work", flags: Flags) {
  return loadConfig(mode, flags, {
    env: {},
    cwd: "/here",
    processors: 2,
    hostname: "desk",
    randomEnd: "1",
    readText(path) {
      const text = FILES[path];
      if (text === undefined) throw Object.assign(new Error("none"), { code: "ENOENT" });
      return text;
    },
  });
}

function devices(flags: Flags, mode: "all" | "serve" = "serve"): unknown {
  const loaded = load(mode, flags);
  if (loaded.kind === "refused") throw new Error(loaded.problems.map(formatProblem).join("\n"));
  return Reflect.get(loaded.config, "devices");
}

function problems(flags: Flags, mode: "serve" | "work" = "serve"): string[] {
  const loaded = load(mode, flags);
  return loaded.kind === "refused" ? loaded.problems.map(formatProblem) : [];
}

describe("the gateway's settings", () => {
  test("a port that was chosen is told from the default; off is none", () => {
    expect(devices({})).toMatchObject({ host: "127.0.0.1", port: 8123, isPortGiven: false });
    expect(devices({ devicePort: ["0"] }, "all")).toMatchObject({ port: 0, isPortGiven: true });
    expect(devices({ devicePort: ["off"] })).toBeUndefined();
    expect(problems({ devicePort: ["70000"] })[0]).toContain('from 0 to 65535, or "off"');
    expect(problems({ devicePort: ["1"] }, "work")[0]).toContain("has no meaning for work");
  });

  test("beyond loopback there must be tokens, or somebody who accepts that there are none", () => {
    const [problem] = problems({ deviceHost: ["0.0.0.0"] });
    expect(problem).toContain("give --device-auth, or --insecure");
    expect(devices({ deviceHost: ["0.0.0.0"], deviceAuth: ["tokens"] })).toMatchObject({
      host: "0.0.0.0",
      tokens: [{ id: "kiln-7", token: "s3cret" }, { id: "*", token: "shared" }],
    });
    expect(devices({ deviceHost: ["[::]"], insecure: true })).toMatchObject({ host: "::" });
    // The token of HTTP opens no device port.
    expect(problems({ deviceHost: ["0.0.0.0"], token: ["t"] })).toHaveLength(1);
    expect(problems({ deviceHost: ["0.0.0.0"], devicePort: ["off"] })).toEqual([]);
  });

  test("a file of tokens that cannot be used is told by its lines, and never shows a token", () => {
    const [problem = ""] = problems({ deviceAuth: ["broken"] });
    expect(problem).toContain("line 1:");
    expect(problem).toContain("line 2:");
    expect(problem).toContain("line 4: the id must be 1 to 80 visible ASCII characters");
    expect(problem).not.toContain("fine");
    expect(problems({ deviceAuth: ["empty"] })[0]).toContain('no line "id token"');
    expect(problems({ deviceAuth: ["nowhere"] })[0]).toContain("there is none");
  });

  test("TLS needs both files, and has its own", () => {
    const tls = { deviceTlsCert: ["gw.crt"], deviceTlsKey: ["gw.key"] };
    expect(devices(tls)).toMatchObject({ tls: { cert, key } });
    expect(problems({ deviceTlsCert: ["gw.crt"] })).toEqual([
      expect.stringContaining("--device-tls-cert and --device-tls-key need each other"),
    ]);
    expect(devices({ tlsCert: ["gw.crt"], tlsKey: ["gw.key"] })).not.toHaveProperty("tls");
  });

  test("the limits are read with their units", () => {
    expect(devices({
      deviceMaxLine: ["64KiB"],
      deviceConnections: ["50"],
      deviceConnectionsPerAddress: ["5"],
      deviceIdle: ["90s"],
    })).toMatchObject({
      maxLineBytes: 65_536,
      maxConnections: 50,
      maxPerAddress: 5,
      idleMs: 90_000,
    });
    expect(devices({ deviceConnections: ["50"] })).toMatchObject({ maxPerAddress: 50 });
  });
});
