-- Records successes, in one statement, as `rules.transition` does. Fenced by `claims`. The given ids must be in
-- ascending order, no two the same. The rows of `running` are locked first, in any order, then those of the jobs.
-- Returns the ids of the recorded successes as the text of an array. It sees what others commit while it waits for a
-- row, such as a cancel or changed fields.
-- Index: the primary keys, one search with all ids for each table. What belongs to an id stands at the same place of
-- another array, and `width_bucket` finds that place by binary search. So there is no join that could be planned
-- wrongly.
-- Rows are found by their key, not by ctid. A row that changed while the statement waited for it has a new version,
-- which the statement's snapshot does not show. By the key, PostgreSQL finds the old version, sees that it has changed,
-- and follows it to the new one.
WITH given AS MATERIALIZED (
    SELECT
        -- As texts, because the driver needs a third of the time for them.
        %(ids)s::text::bigint[] AS ids,
        %(claims)s::text::bigint[] AS claims,
        %(results)s::text[] AS results,
        coalesce(%(now)s::timestamptz, now()) AS now,
        -- Limits the wait for a locked row. A job may have been completed in an application's transaction that is still
        -- open, and the other outcomes must not wait for that. `gone` reads `patience`, so the limit holds for its
        -- locks.
        set_config('lock_timeout', coalesce(%(patience)s::text, current_setting('lock_timeout')), true) AS patience
),
gone AS (
    DELETE FROM "rexecutor".running AS run
    WHERE (SELECT patience FROM given) IS NOT NULL
        AND run.id = ANY((SELECT ids FROM given)::bigint[])
        AND run.claims = (SELECT claims FROM given)[width_bucket(run.id, (SELECT ids FROM given))]
        AND (%(node)s::text IS NULL OR run.node = %(node)s)
    RETURNING run.*
),
ours AS MATERIALIZED (
    SELECT
        array_agg(id ORDER BY id) AS ids,
        array_agg(attempt ORDER BY id) AS attempts,
        array_agg(attempted_at ORDER BY id) AS moments
    FROM gone
),
done AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = 'complete',
        -- Clamped, here and elsewhere: a number that somebody has written into `running` must not fail the others.
        attempt = greatest(ours.attempts[width_bucket(job.id, ours.ids)], 0),
        claims = given.claims[width_bucket(job.id, given.ids)],
        attempted_at = ours.moments[width_bucket(job.id, ours.ids)],
        completed_at = given.now,
        cancelled_at = NULL,
        discarded_at = NULL,
        result = given.results[width_bucket(job.id, given.ids)]::json
    FROM ours, given
    WHERE job.id = ANY(ours.ids)
    RETURNING job.id, job.executor, job.completed_at
),
logged AS (
    INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
    SELECT executor, 'complete', completed_at, array_agg(id ORDER BY id) FROM done GROUP BY executor, completed_at
)
SELECT coalesce(array_agg(id), '{}')::text FROM done
