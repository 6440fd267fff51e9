/** Consumes what devices say, and talks back. */
import { consume, context, devices, task } from "coxswain";

consume(
  { queue: "device-lines", exchange: "cox.pubsub", keys: ["device.*.line"] },
  async (body, envelope, { headers }) => {
    const [, word = ""] = envelope.routingKey.split(".");
    const id = decodeURIComponent(word);
    if (body === "too hot") await devices.send(id, `recalibrate ${headers["cox-device"]}`);
  },
);

export const ask = task("devices.ask", async (id: string, line: string) => {
  const answer = await devices.send(id, line, { reply: "5s" });
  return typeof answer === "string" ? answer : [...answer];
});

export const tell = task("devices.tell", async (id: string, line: string) => {
  try {
    await devices.send(id, line);
    return "written";
  } catch (error) {
    context.log.info("not written");
    return error instanceof Error ? error.name : "";
  }
});
