/** The tables in SQLite, as a list of steps: the file's `user_version` says how many it has. */

/**
 * Lists read `jobs_by_state` and `jobs_by_task` once for each state that they want, so that any filter
 * is a few short ranges. The other indexes are partial: they hold only what waits for something.
 */
const FIRST = `
  CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    expires_at INTEGER,
    finished_at INTEGER,
    dead_at INTEGER,
    cancel_at INTEGER,
    summary TEXT NOT NULL,
    result TEXT
  ) STRICT;
  CREATE INDEX jobs_by_state ON jobs (state, created_at, id);
  CREATE INDEX jobs_by_task ON jobs (task, state, created_at, id);
  CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
  CREATE INDEX jobs_dead ON jobs (created_at, id) WHERE dead_at IS NOT NULL;
  CREATE INDEX jobs_cancelled ON jobs (cancel_at, id) WHERE cancel_at IS NOT NULL;
  CREATE TABLE payloads (key INTEGER PRIMARY KEY, payload TEXT NOT NULL) STRICT;
  CREATE TABLE unique_keys (
    key TEXT PRIMARY KEY, job TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job TEXT NOT NULL, used_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX idempotency_keys_by_age ON idempotency_keys (used_at);
  CREATE TABLE schedules (
    name TEXT PRIMARY KEY, spec TEXT NOT NULL, task TEXT NOT NULL, input TEXT NOT NULL,
    file TEXT NOT NULL, is_paused INTEGER NOT NULL, announced_at INTEGER NOT NULL,
    last_fired_at INTEGER, last_job_id TEXT, next_at INTEGER
  ) STRICT;
  CREATE TABLE leases (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL, term INTEGER NOT NULL
  ) STRICT;
`;

/**
 * `devices` has each device once, as the last of its statuses says. An index of its own holds those
 * that are online, by node: what is looked for when a node is gone.
 */
const DEVICES = `
  CREATE TABLE devices (
    id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, node TEXT NOT NULL, revision INTEGER NOT NULL,
    is_offline INTEGER NOT NULL, node_started_at TEXT NOT NULL, address TEXT NOT NULL,
    connected_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX devices_by_state ON devices (is_offline, id);
  CREATE INDEX devices_online ON devices (node, node_started_at) WHERE is_offline = 0;
  CREATE INDEX devices_offline ON devices (at) WHERE is_offline = 1;
  CREATE TABLE device_statuses (
    id TEXT NOT NULL, epoch INTEGER NOT NULL, node TEXT NOT NULL, revision INTEGER NOT NULL,
    is_offline INTEGER NOT NULL, node_started_at TEXT NOT NULL, address TEXT NOT NULL,
    connected_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT,
    PRIMARY KEY (id, epoch, node, revision, is_offline)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX device_statuses_by_age ON device_statuses (at);
`;

export const MIGRATIONS: readonly string[] = [FIRST, DEVICES];
