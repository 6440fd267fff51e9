/** Where a node answers HTTP. */
import { getLogger } from "@logtape/logtape";
import type { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";

const log = getLogger(["coxswain", "node"]);

export async function listen(
  node: Node,
  { host, port }: { readonly host: string; readonly port: number },
  app: { fetch(request: Request, connection: object): Response | Promise<Response> },
  what: "front" | "health",
): Promise<void> {
  const { HttpServer, ListenError } = await import("../../platform/http_server.ts");
  const server = new HttpServer({
    host: host.replace(/^\[(.*)\]$/, "$1"),
    port: node.portFor(what, port),
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
}
