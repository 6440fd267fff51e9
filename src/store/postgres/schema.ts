/**
 * The tables and functions in PostgreSQL, as a list of steps, in a schema of their own: a database may well be the
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

/**
 * What must be done together is done in here, since the client's transactions cannot be trusted when a
 * connection is lost (connections.ts). All or nothing: where a row is no longer as the caller read it,
 * it fails with 40001 and the caller reads again. In the order of ids and keys, so that two who record
 * at the same time never wait for each other.
 */
const RECORD = `
  CREATE FUNCTION coxswain.record(
    jobs json, payloads json, claims json, must_claim boolean, releases json, uses json
  ) RETURNS void LANGUAGE plpgsql AS $function$
  DECLARE
    written bigint;
  BEGIN
    -- A result stays where the same end of the same round is written again without it.
    INSERT INTO coxswain.jobs AS j (id, version, round, task, state, created_at, due_at, expires_at,
      finished_at, dead_at, cancel_at, summary, result)
    SELECT * FROM json_to_recordset(jobs) AS r (id text, version integer, round integer, task text,
      state text, created_at bigint, due_at bigint, expires_at bigint, finished_at bigint,
      dead_at bigint, cancel_at bigint, summary text, result text)
      ORDER BY r.id COLLATE "C"
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, round = excluded.round,
      task = excluded.task, state = excluded.state, created_at = excluded.created_at,
      due_at = excluded.due_at, expires_at = excluded.expires_at,
      finished_at = excluded.finished_at, dead_at = excluded.dead_at,
      cancel_at = excluded.cancel_at, summary = excluded.summary,
      result = CASE WHEN excluded.result IS NULL AND excluded.state = j.state
        AND excluded.round = j.round THEN j.result ELSE excluded.result END
      WHERE j.version = excluded.version - 1;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < json_array_length(jobs) THEN
      RAISE EXCEPTION 'jobs were changed meanwhile' USING ERRCODE = '40001';
    END IF;

    INSERT INTO coxswain.payloads (id, payload)
    SELECT * FROM json_to_recordset(payloads) AS r (id text, payload text)
      ORDER BY r.id COLLATE "C"
    ON CONFLICT (id) DO NOTHING;

    INSERT INTO coxswain.unique_keys (key, job)
    SELECT * FROM json_to_recordset(claims) AS r (key text, id text) ORDER BY r.key COLLATE "C"
    ON CONFLICT (key) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF must_claim AND written < json_array_length(claims) THEN
      RAISE EXCEPTION 'a unique key was taken meanwhile' USING ERRCODE = '40001';
    END IF;
    DELETE FROM coxswain.unique_keys u
      USING json_to_recordset(releases) AS r (key text, id text)
      WHERE u.key = r.key AND u.job = r.id;

    INSERT INTO coxswain.idempotency_keys AS k (key, fingerprint, job, used_at)
    SELECT r.key, r.fingerprint, r.job, r.used_at
      FROM json_to_recordset(uses) AS r (key text, fingerprint text, job text, used_at bigint)
      ORDER BY r.key COLLATE "C"
    ON CONFLICT (key) DO UPDATE SET
      fingerprint = excluded.fingerprint, job = excluded.job, used_at = excluded.used_at
      WHERE (k.job, k.used_at) IN (
        SELECT r.old_job, r.old_used_at FROM json_to_recordset(uses)
          AS r (key text, old_job text, old_used_at bigint) WHERE r.key = k.key);
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < json_array_length(uses) THEN
      RAISE EXCEPTION 'an idempotency key was used meanwhile' USING ERRCODE = '40001';
    END IF;
  END
  $function$;

  CREATE FUNCTION coxswain.fire(
    schedule text, due bigint, next bigint, job text, jobs json, payloads json, claims json
  ) RETURNS boolean LANGUAGE plpgsql AS $function$
  BEGIN
    UPDATE coxswain.schedules SET last_fired_at = next_at, next_at = next,
      last_job_id = coalesce(job, last_job_id)
      WHERE name = schedule AND next_at = due AND NOT is_paused;
    IF NOT FOUND THEN
      RETURN false;
    END IF;
    PERFORM coxswain.record(jobs, payloads, claims, false, '[]', '[]');
    RETURN true;
  END
  $function$;
`;

/** A status of a device as rows that are told, as `deviceRow` writes them. */
const TOLD = `json_to_recordset(told) AS r (id text, epoch bigint, node text, revision bigint,
  is_offline smallint, node_started_at text, address text, connected_at bigint, last_seen_at bigint,
  at bigint, reason text)`;

/** `devices` has each device once, as the last of its statuses says. */
const DEVICES = `
  CREATE TABLE coxswain.devices (
    id text COLLATE "C" PRIMARY KEY, epoch bigint NOT NULL, node text COLLATE "C" NOT NULL,
    revision bigint NOT NULL, is_offline smallint NOT NULL,
    node_started_at text COLLATE "C" NOT NULL, address text NOT NULL, connected_at bigint NOT NULL,
    last_seen_at bigint NOT NULL, at bigint NOT NULL, reason text
  ) WITH (fillfactor = 85);
  CREATE INDEX devices_by_state ON coxswain.devices (is_offline, id);
  CREATE INDEX devices_online ON coxswain.devices (node, node_started_at) WHERE is_offline = 0;
  CREATE INDEX devices_offline ON coxswain.devices (at) WHERE is_offline = 1;
  CREATE TABLE coxswain.device_statuses (
    id text COLLATE "C" NOT NULL, epoch bigint NOT NULL, node text COLLATE "C" NOT NULL,
    revision bigint NOT NULL, is_offline smallint NOT NULL,
    node_started_at text COLLATE "C" NOT NULL, address text NOT NULL, connected_at bigint NOT NULL,
    last_seen_at bigint NOT NULL, at bigint NOT NULL, reason text,
    PRIMARY KEY (id, epoch, node, revision, is_offline)
  );
  CREATE INDEX device_statuses_by_age ON coxswain.device_statuses (at);

  CREATE FUNCTION coxswain.record_devices(told json) RETURNS void LANGUAGE plpgsql AS $function$
  BEGIN
    INSERT INTO coxswain.device_statuses
    SELECT r.* FROM ${TOLD}
      ORDER BY r.id COLLATE "C", r.epoch, r.node COLLATE "C", r.revision, r.is_offline
    ON CONFLICT DO NOTHING;

    -- A statement meets a row but once: with the last status of each device.
    INSERT INTO coxswain.devices AS d
    SELECT DISTINCT ON (r.id COLLATE "C") r.* FROM ${TOLD}
      ORDER BY r.id COLLATE "C", r.epoch DESC, r.node COLLATE "C" DESC, r.revision DESC,
        r.is_offline DESC
    ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, node = excluded.node,
      revision = excluded.revision, is_offline = excluded.is_offline,
      node_started_at = excluded.node_started_at, address = excluded.address,
      connected_at = excluded.connected_at, last_seen_at = excluded.last_seen_at,
      at = excluded.at, reason = excluded.reason
      WHERE (excluded.epoch, excluded.node, excluded.revision, excluded.is_offline) >
        (d.epoch, d.node, d.revision, d.is_offline);
  END
  $function$;
`;

export const MIGRATIONS: readonly string[] = [FIRST + RECORD, DEVICES];

/** Of the transactions that bring the tables up to date; any number will do that is always this one. */
export const MIGRATION_LOCK = 7_238_410_563;

/** An SQLSTATE of our own, in a class that the standard leaves to programs. */
export const NEWER_FORMAT = "X0C01";
