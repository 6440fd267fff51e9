/** Where a node answers HTTP, over TLS where it has a certificate. */
import { getLogger } from "@logtape/logtape";
import { type KeyPair, validityProblem } from "../../platform/certificate.ts";
import { isLoopback } from "../../platform/loopback.ts";
import type { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";

const log = getLogger(["coxswain", "node"]);

export interface Listening {
  readonly host: string;
  readonly port: number;
  readonly tls?: KeyPair;
  /** Whoever sends it may come in. */
  readonly token?: string;
}

export async function listen(
  node: Node,
  { host, port, tls, token }: Listening,
  app: { fetch(request: Request, connection: object): Response | Promise<Response> },
  what: "front" | "health",
): Promise<void> {
  const { HttpServer, ListenError } = await import("../../platform/http_server.ts");
  const server = new HttpServer({
    host: host.replace(/^\[(.*)\]$/, "$1"),
    port: node.portFor(what, port),
    ...(tls === undefined ? {} : { tls }),
    handler: (request, connection) => app.fetch(request, connection),
  });
  try {
    await node.start(server);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
  node.keepPort(what, server.port);
  log.info("Listening on {url}", { url: server.url, what });
  const flaw = tls === undefined ? undefined : validityProblem(tls.cert, Date.now());
  if (flaw !== undefined) log.warn("The certificate {flaw}: clients will refuse it", { flaw });
  if (tls === undefined && token !== undefined && !isLoopback(host)) {
    log.warn(
      "Tokens come in readable by whoever sees the network: give a certificate with --tls-cert, " +
        "or keep this port behind a proxy that has one",
    );
  }
}
