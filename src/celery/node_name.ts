/** What a worker of ours is called among Celery's: its tools name a worker by one text, `name@host`. */

const PREFIX = "coxswain@";

/**
 * The name in replies and events, and for `--destination`: `coxswain@<node id>`. Unlike Celery's own it
 * has the node's id after the @, for several nodes may run on one host.
 */
export function celeryNodeName(node: string): string {
  return `${PREFIX}${node}`;
}

/** Whether it is a worker of ours that is called so. */
export function isNodeOfOurs(name: unknown): boolean {
  return typeof name === "string" && name.startsWith(PREFIX);
}
