/** Answers that are lost or stuck on their way: what a front may still claim about a call. */
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode, until } from "../support/app.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

async function vhost(name: string) {
  const rabbit = await sharedRabbitMq();
  rabbit.ctl("add_vhost", name);
  rabbit.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
  return { rabbit, url: (port: number) => `amqp://guest:guest@127.0.0.1:${port}/${name}` };
}

async function isUnknown(response: Response): Promise<void> {
  expect(response.status).toBe(502);
  expect((await response.json()).type).toEndWith("/outcome-unknown");
  expect(response.headers.get("retry-after")).toBeNull();
}

async function knowsMath({ url }: App): Promise<void> {
  await until(
    async () => (await (await fetch(`${url}/tasks`)).text()).includes("math.add"),
    "the front to know math.add",
  );
}

test("a call whose front hears the broker no more is not said to have expired", async () => {
  const { rabbit, url } = await vhost("silent");
  await using proxy = new TcpProxy(rabbit.port);
  await using front = await startNode(["serve", "--port", "0", "--amqp-url", url(proxy.port)]);
  await using _worker = await startNode(["work", "--amqp-url", url(rabbit.port)]);
  await knowsMath(front);
  // What the front sends still arrives, so the task runs; its answer is lost.
  proxy.swallow("toClient");
  await isUnknown(await front.call("math.add", [1, 2], "?expires=500ms"));
}, 60_000);

test("nor is one whose answer is stuck, because the broker blocks whoever publishes", async () => {
  const { rabbit, url } = await vhost("blocked");
  // RabbitMQ blocks a connection at its first publish: the front's is to be the call.
  const quiet = ["--heartbeat-broadcast", "0"];
  const broker = ["--amqp-url", url(rabbit.port)];
  await using front = await startNode(["serve", "--port", "0", ...broker, ...quiet]);
  await using worker = await startNode(["work", "--health-port", "0", ...broker]);
  await knowsMath(front);
  rabbit.ctl("set_vm_memory_high_watermark", "0.0000001");
  try {
    await until(
      async () => (await (await fetch(`${worker.url}/readyz`)).text()).includes("low on memory"),
      "the worker to be blocked",
    );
    await isUnknown(await front.call("math.add", [1, 2], "?expires=500ms"));
  } finally {
    rabbit.ctl("set_vm_memory_high_watermark", "absolute", "2GB");
  }
}, 60_000);
