-- Stores one new job that never expires, as `insert_jobs` does, and returns its id. If `channel` is not NULL, the
-- commit notifies the nodes.
WITH clock AS MATERIALIZED (
    SELECT
        now,
        -- The delay is added in UTC. In other time zones a day may have 23 or 25 hours.
        coalesce(
            %(scheduled_at)s::timestamptz, (now AT TIME ZONE 'UTC' + %(delay)s::interval) AT TIME ZONE 'UTC', now
        ) AS due_at
    FROM (SELECT coalesce(%(now)s::timestamptz, now()) AS now) AS current
),
stored AS (
    INSERT INTO "rexecutor".stored_jobs (
        executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key,
        headers
    )
    SELECT
        %(executor)s::text, %(data)s::json, %(metadata)s::json, %(max_attempts)s::integer, %(priority)s::integer,
        coalesce(%(tags)s::text[], '{}'), clock.now, clock.due_at, %(unique_key)s::text,
        %(headers)s::json
    FROM clock
    RETURNING id, executor, priority, inserted_at, scheduled_at
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due)
    SELECT id, executor, scheduled_at, priority, scheduled_at <= inserted_at FROM stored
)
SELECT id, CASE WHEN %(channel)s::text IS NOT NULL THEN pg_notify(%(channel)s::text, %(executor)s::text) END FROM stored
