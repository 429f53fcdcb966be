-- Makes those of the jobs due again that have ended and match, as `rules.transition` does, and takes them out of the
-- log. `lock_places` has locked their rows of the log in the same transaction. The condition comes from `compile_where`.
-- In `queue`, the jobs are not marked as due: the next claim does that. Returns the new status and the executor of each,
-- in order of id. Indexes: the primary keys, and ended_by.
WITH matching AS MATERIALIZED (
    SELECT job.* FROM unnest(%(ids)s::bigint[]) AS wanted (id) CROSS JOIN LATERAL (
        -- The limit keeps the planner from reading the whole table.
        SELECT id
        FROM "rexecutor".jobs WHERE id = wanted.id AND /* where */ LIMIT 1
    ) AS job
),
chosen AS MATERIALIZED (
    SELECT id, executor, status, coalesce(completed_at, cancelled_at, discarded_at) AS ended_at
    FROM "rexecutor".stored_jobs
    WHERE id = ANY(ARRAY(SELECT id FROM matching)) AND status IN ('complete', 'cancelled', 'discarded')
    ORDER BY id FOR UPDATE
),
kept AS MATERIALIZED (
    SELECT log.ctid, ARRAY(SELECT one FROM unnest(log.ids) AS one WHERE one <> ALL(moment.ids)) AS ids
    FROM (
        SELECT executor, status, ended_at, array_agg(id) AS ids FROM chosen GROUP BY executor, status, ended_at
    ) AS moment CROSS JOIN LATERAL (
        SELECT log.ctid, log.ids FROM "rexecutor".ended AS log
        WHERE log.status = moment.status AND log.executor = moment.executor AND log.ended_at = moment.ended_at
            AND log.ids && moment.ids
        FOR UPDATE
    ) AS log
),
unlogged AS (
    UPDATE "rexecutor".ended AS log SET ids = kept.ids FROM kept
    WHERE log.ctid = ANY(ARRAY[kept.ctid]) AND kept.ids <> '{}'
),
forgotten AS (
    DELETE FROM "rexecutor".ended WHERE ctid = ANY(ARRAY(SELECT ctid FROM kept WHERE ids = '{}'))
),
rerun AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = 'scheduled',
        max_attempts = greatest(max_attempts, least(attempt, 2147483646) + 1),
        losses = 0,
        revision = least(revision, 9223372036854775806) + 1,
        scheduled_at = coalesce(%(now)s::timestamptz, now()),
        completed_at = NULL,
        cancelled_at = NULL,
        discarded_at = NULL,
        expires_at = NULL,
        result = NULL
    WHERE id = ANY(ARRAY(SELECT id FROM chosen))
    RETURNING id, coalesce(executor, '') AS executor, scheduled_at, priority, flow, lane
),
queued AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, flow, lane)
    SELECT id, executor, scheduled_at, priority, false, flow, lane FROM rerun
    ON CONFLICT (id) DO UPDATE SET  -- somebody may have put it there by hand
        executor = excluded.executor, scheduled_at = excluded.scheduled_at, priority = excluded.priority, due = false,
        expires_at = NULL, flow = excluded.flow, lane = excluded.lane
)
SELECT id, 'scheduled', executor FROM rerun ORDER BY id
