/** Two process isolates, one idle and one that spins; prints their process ids and waits to be killed. */
import { makePool, order } from "./pools.ts";

const pool = makePool({ isolates: 2 });
await pool.start();

async function pid(): Promise<number> {
  const end = await pool.run(order({ whereAmI: true }, { isolation: "process" }));
  return end.kind === "returned" ? Number(JSON.parse(end.resultJson).pid) : 0;
}

const first = await pid();
void pool.run(order({ spin: true }, { isolation: "process" }));
const second = await pid();
console.log(`${first} ${second}`);
