-- Stores new jobs that differ only in their data, in the order given, and returns their ids in that order, as the text
-- of an array. The data of all jobs are one text, a line for each job. The server splits it in a quarter of the time
-- that it needs to read the same jobs as JSON.
WITH clock AS MATERIALIZED (
    SELECT
        now,
        coalesce(%(scheduled_at)s::timestamptz, (utc + %(delay)s::interval) AT TIME ZONE 'UTC', now) AS due_at,
        coalesce(%(expires_at)s::timestamptz, (utc + %(expires_in)s::interval) AT TIME ZONE 'UTC') AS expires_at
    FROM (
        -- `utc` is there to add spans to. In other time zones a day may have 23 or 25 hours.
        SELECT moment AS now, moment AT TIME ZONE 'UTC' AS utc
        FROM (SELECT coalesce(%(now)s::timestamptz, now()) AS moment) AS current
    ) AS moments
),
stored AS (
    INSERT INTO "rexecutor".stored_jobs (
        executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key, expires_at,
        headers
    )
    SELECT
        %(executor)s::text, job.data::json, %(metadata)s::json, %(max_attempts)s::integer, %(priority)s::integer,
        coalesce(%(tags)s::text[], '{}'), clock.now, clock.due_at, %(unique_key)s::text, clock.expires_at,
        %(headers)s::json
    FROM clock, (SELECT string_to_table(%(lines)s::text, E'\n') AS data) AS job
    RETURNING id
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, expires_at)
    SELECT
        stored.id, %(executor)s::text, clock.due_at, %(priority)s::integer, clock.due_at <= clock.now, clock.expires_at
    FROM clock, stored
)
SELECT array_agg(id)::text FROM stored
