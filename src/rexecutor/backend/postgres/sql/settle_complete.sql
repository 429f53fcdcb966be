-- Records successes, in one statement, as `rules.transition` does. Fenced by `claims`. The ids are in order and no two
-- are the same; rows of `running` are locked in that order, then those of the jobs. Returns the ids that it recorded, in
-- one text. It sees what others commit while it waits for a row, such as a cancel or other fields.
-- Index: the primary keys, two lookups for each job, whatever the statistics. With `=`, a join could be planned as a hash
-- of the whole table; with `ANY` not.
-- By the key, not by ctid. A row that changed while the statement waited for it has a new version, which the statement's
-- snapshot does not show. By the key, it finds the old version, sees that it has changed, and goes on to the new one.
WITH clock AS MATERIALIZED (
    SELECT
        coalesce(%(now)s::timestamptz, now()) AS now,
        -- Limits the wait for a locked row. A job may have been completed in an application's transaction that is still
        -- open, and the other outcomes must not wait for that. `given` refers to it, so that it is set before any lock.
        set_config('lock_timeout', coalesce(%(patience)s::text, current_setting('lock_timeout')), true) AS patience
),
-- The arrays are sent as texts, and the results as one JSON array: the driver needs a fifth of the time for that.
given AS MATERIALIZED (
    SELECT given.id, given.claims, CASE WHEN given.result::text <> 'null' THEN given.result END AS result
    FROM clock CROSS JOIN ROWS FROM (
        unnest(%(ids)s::text::bigint[]), unnest(%(claims)s::text::bigint[]), json_array_elements(%(results)s::json)
    ) AS given (id, claims, result)
    WHERE clock.patience IS NOT NULL
),
gone AS (
    DELETE FROM "rexecutor".running AS run USING given
    WHERE run.id = ANY(ARRAY[given.id]) AND run.claims = given.claims
        AND (%(node)s::text IS NULL OR run.node = %(node)s)
    RETURNING run.id, run.claims, run.attempt, run.attempted_at, run.executor, given.result
),
done AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = 'complete',
        attempt = gone.attempt,
        claims = gone.claims,
        attempted_at = gone.attempted_at,
        completed_at = clock.now,
        cancelled_at = NULL,
        discarded_at = NULL,
        result = gone.result
    FROM gone, clock
    WHERE job.id = ANY(ARRAY[gone.id])
    RETURNING job.id, gone.executor, job.completed_at
),
logged AS (
    INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
    SELECT executor, 'complete', completed_at, array_agg(id ORDER BY id) FROM done GROUP BY executor, completed_at
)
SELECT coalesce(array_agg(id), '{}')::text FROM done
