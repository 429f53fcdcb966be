-- Stores new jobs in the order given, and answers their ids in that order.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
given AS (
    SELECT
        job.*,
        clock.now,
        coalesce(job.scheduled_at, clock.now + job.delay) AS due_at
    FROM clock, unnest(
        %(executors)s::text[], %(data)s::text[], %(metadata)s::text[], %(max_attempts)s::integer[],
        %(priorities)s::integer[], %(tags)s::text[], %(scheduled_at)s::timestamptz[], %(delays)s::interval[],
        %(unique_keys)s::text[]
    ) WITH ORDINALITY AS job (
        executor, data, metadata, max_attempts, priority, tags, scheduled_at, delay, unique_key, place
    )
)
INSERT INTO "rexecutor".jobs (
    executor, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, due, unique_key
)
SELECT
    executor, data::json, metadata::json, max_attempts, priority,
    ARRAY(SELECT json_array_elements_text(tags::json)), now, due_at, due_at <= now, unique_key
FROM given
ORDER BY place
RETURNING id
