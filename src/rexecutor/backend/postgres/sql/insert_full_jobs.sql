-- Stores new jobs, some of which expire or have headers, as `insert_jobs` does. It is a statement of its own because two
-- more columns of the JSON make an insert slower by a fourteenth, and few jobs expire.
WITH clock AS MATERIALIZED (
    -- `utc` is there to add spans to. In other time zones a day may have 23 or 25 hours.
    SELECT moment AS now, moment AT TIME ZONE 'UTC' AS utc
    FROM (SELECT coalesce(%(now)s::timestamptz, now()) AS moment) AS current
),
given AS (
    SELECT
        job.*, clock.now, clock.utc,
        coalesce(job.scheduled_at, (clock.utc + job.delay) AT TIME ZONE 'UTC', clock.now) AS due_at
    FROM clock, json_to_recordset(%(jobs)s::json) AS job (
        executor text, data text, metadata text, max_attempts integer, priority integer, tags json,
        scheduled_at timestamptz, delay interval, unique_key text, expires_at timestamptz, expires_in interval,
        headers json
    )
),
stored AS (
    INSERT INTO "rexecutor".stored_jobs (
        executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key, expires_at,
        headers
    )
    SELECT
        executor, coalesce(data, 'null')::json, metadata::json, max_attempts, coalesce(priority, 0),
        CASE WHEN tags IS NULL THEN '{}' ELSE ARRAY(SELECT json_array_elements_text(tags)) END,
        now, due_at, unique_key, coalesce((utc + expires_in) AT TIME ZONE 'UTC', expires_at), headers
    FROM given
    RETURNING id, executor, priority, inserted_at, scheduled_at, expires_at
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, expires_at)
    SELECT id, executor, scheduled_at, priority, scheduled_at <= inserted_at, expires_at FROM stored
)
SELECT id FROM stored
