/** A node's presence among the others: it beats, says who it is, and says goodbye before it stops. */
import type { NodeHeartbeat } from "../heartbeat/node_heartbeat.ts";
import type { Component } from "../lifecycle/component.ts";
import type { NodesChannel } from "../nodes/nodes_channel.ts";

/** To be started last, for what it says of the node is then so, and stopped first. */
export class Presence implements Component {
  readonly #heartbeat: NodeHeartbeat;
  readonly #nodes: NodesChannel;

  constructor(heartbeat: NodeHeartbeat, nodes: NodesChannel) {
    this.#heartbeat = heartbeat;
    this.#nodes = nodes;
  }

  /** @throws HeartbeatExchangeError */
  async start(): Promise<void> {
    const heartbeat = this.#heartbeat;
    await heartbeat.start();
    await this.#nodes.join({
      get introduction() {
        return heartbeat.introduction;
      },
      asked: () => heartbeat.asked(),
    });
  }

  async stop(): Promise<void> {
    await this.#heartbeat.stop();
    await this.#nodes.withdraw();
  }
}
