/**
 * The tables in PostgreSQL, as a list of steps, in a schema of their own: a database may well be the
 * application's. Text that is searched is compared byte by byte, as SQLite does.
 */
const FIRST = `
  CREATE TABLE coxswain.jobs (
    id text COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    round integer NOT NULL,
    task text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    due_at bigint,
    expires_at bigint,
    finished_at bigint,
    dead_at bigint,
    cancel_at bigint,
    summary text NOT NULL,
    result text
  ) WITH (fillfactor = 85);
  CREATE INDEX jobs_by_state ON coxswain.jobs (state, created_at, id);
  CREATE INDEX jobs_by_task ON coxswain.jobs (task, state, created_at, id);
  CREATE INDEX jobs_due ON coxswain.jobs (due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX jobs_expiring ON coxswain.jobs (expires_at) WHERE expires_at IS NOT NULL;
  CREATE INDEX jobs_finished ON coxswain.jobs (finished_at) WHERE finished_at IS NOT NULL;
  CREATE INDEX jobs_dead ON coxswain.jobs (created_at, id) WHERE dead_at IS NOT NULL;
  CREATE INDEX jobs_cancelled ON coxswain.jobs (cancel_at, id) WHERE cancel_at IS NOT NULL;
  CREATE TABLE coxswain.payloads (
    id text COLLATE "C" PRIMARY KEY, payload text NOT NULL
  );
  CREATE TABLE coxswain.unique_keys (
    key text COLLATE "C" PRIMARY KEY, job text COLLATE "C" NOT NULL
  );
  CREATE TABLE coxswain.idempotency_keys (
    key text COLLATE "C" PRIMARY KEY, fingerprint text NOT NULL, job text NOT NULL,
    used_at bigint NOT NULL
  );
  CREATE INDEX idempotency_keys_by_age ON coxswain.idempotency_keys (used_at);
  CREATE TABLE coxswain.schedules (
    name text COLLATE "C" PRIMARY KEY, spec text NOT NULL, task text NOT NULL, input text NOT NULL,
    file text NOT NULL, is_paused boolean NOT NULL, announced_at bigint NOT NULL,
    last_fired_at bigint, last_job_id text, next_at bigint
  );
  CREATE TABLE coxswain.leases (
    name text PRIMARY KEY, holder text NOT NULL, until bigint NOT NULL, term integer NOT NULL
  );
`;

export const MIGRATIONS: readonly string[] = [FIRST];

/** Of the transactions that bring the tables up to date; any number will do that is always this one. */
export const MIGRATION_LOCK = 7_238_410_563;
