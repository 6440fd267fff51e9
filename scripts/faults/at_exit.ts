/** What must not outlive a run, whatever ends it: processes, network namespaces, mounts. */

const undone = new Set<() => void>();

let isWatching = false;

/** @param undo runs at the end of this process, unless the returned function is called before. */
export function atExit(undo: () => void): () => void {
  if (!isWatching) watch();
  undone.add(undo);
  return () => void undone.delete(undo);
}

function watch(): void {
  isWatching = true;
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  process.once("exit", () => {
    for (const undo of undone) undo();
  });
}
