/** A front whose line from the broker has died without a word: what it may still claim about a call. */
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { startNode, until } from "../support/app.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

test("a call that may have run is not said to have expired", async () => {
  const rabbit = await sharedRabbitMq();
  rabbit.ctl("add_vhost", "silent");
  rabbit.ctl("set_permissions", "-p", "silent", "guest", ".*", ".*", ".*");
  const url = (port: number) => `amqp://guest:guest@127.0.0.1:${port}/silent`;
  await using proxy = new TcpProxy(rabbit.port);
  await using front = await startNode(["serve", "--port", "0", "--amqp-url", url(proxy.port)]);
  await using _worker = await startNode(["work", "--amqp-url", url(rabbit.port)]);
  await until(
    async () => (await (await fetch(`${front.url}/tasks`)).text()).includes("math.add"),
    "the front to know math.add",
  );
  // What the front sends still arrives, so the task runs; its answer is lost.
  proxy.swallow("toClient");
  const response = await front.call("math.add", [1, 2], "?expires=500ms");
  expect(response.status).toBe(502);
  expect((await response.json()).type).toEndWith("/outcome-unknown");
  expect(response.headers.get("retry-after")).toBeNull();
}, 60_000);
