/** What the test services need of Debian's packages, installed where it is missing and may be. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Debian asks this file whether a package may start its service; 101 is no. */
const POLICY = "/usr/sbin/policy-rc.d";
/** Debian makes a cluster of PostgreSQL as it installs one, unless this says otherwise. */
const NO_CLUSTER = "/etc/postgresql-common/createcluster.conf";

/**
 * Installs a package unless `file` exists, without starting the service that it brings.
 * @throws Error when it is missing and cannot be installed, with the command to run.
 */
export function ensurePackage(name: string, file: string): void {
  if (existsSync(file)) return;
  const hint = `${file} is missing: run "apt-get install ${name}" as root`;
  if (process.getuid?.() !== 0) throw new Error(hint);
  const ownPolicy = !existsSync(POLICY);
  if (ownPolicy) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  const isPostgres = name === "postgresql" && !existsSync(NO_CLUSTER);
  if (isPostgres) {
    mkdirSync(dirname(NO_CLUSTER), { recursive: true });
    writeFileSync(NO_CLUSTER, "create_main_cluster = false\n");
  }
  try {
    for (
      const args of [["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", name]]
    ) {
      const { status, stderr } = spawnSync("apt-get", args, {
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
        encoding: "utf8",
      });
      if (status !== 0) throw new Error(`${hint}; apt-get said: ${stderr}`);
    }
  } finally {
    if (ownPolicy) rmSync(POLICY);
  }
}
