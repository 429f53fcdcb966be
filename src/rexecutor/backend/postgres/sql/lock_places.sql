-- Locks the rows that say where jobs stand, as `lock_place` does for one job: in `queue` and `running` those of jobs that
-- have not ended, or, with `changes_ended`, in the log those of jobs that have ended.
-- Returns those of the jobs that were in such a status when the statement began, and whether the row of each is locked.
-- If it is not, the job has moved while the statement waited. This transaction waits at most `patience` for each lock,
-- because outcomes of the other jobs wait for it meanwhile.
-- Indexes: the primary keys, and ended_by.
WITH limits AS MATERIALIZED (
    SELECT set_config('lock_timeout', %(patience)s::text, true) AS patience
),
job AS MATERIALIZED (
    SELECT stored.* FROM unnest(%(ids)s::bigint[]) AS wanted (id) CROSS JOIN LATERAL (
        -- The limit keeps the planner from reading the whole table.
        SELECT id, executor, status, coalesce(completed_at, cancelled_at, discarded_at) AS ended_at
        FROM "rexecutor".stored_jobs WHERE id = wanted.id LIMIT 1
    ) AS stored
    WHERE (stored.status IN ('complete', 'cancelled', 'discarded')) = %(changes_ended)s::boolean
),
waiting AS MATERIALIZED (
    SELECT id FROM "rexecutor".queue
    WHERE (SELECT patience FROM limits) IS NOT NULL AND NOT %(changes_ended)s::boolean AND id = ANY(%(ids)s::bigint[])
    ORDER BY id FOR UPDATE
),
executing AS MATERIALIZED (
    SELECT id FROM "rexecutor".running
    WHERE (SELECT patience FROM limits) IS NOT NULL AND NOT %(changes_ended)s::boolean AND id = ANY(%(ids)s::bigint[])
    ORDER BY id FOR UPDATE
),
logged AS MATERIALIZED (
    SELECT log.ids FROM (
        SELECT executor, status, ended_at, array_agg(id) AS ids FROM job
        WHERE (SELECT patience FROM limits) IS NOT NULL AND %(changes_ended)s::boolean
        GROUP BY executor, status, ended_at ORDER BY executor, status, ended_at
    ) AS moment CROSS JOIN LATERAL (
        SELECT log.ids FROM "rexecutor".ended AS log
        WHERE log.status = moment.status AND log.executor = moment.executor AND log.ended_at = moment.ended_at
            AND log.ids && moment.ids
        FOR UPDATE
    ) AS log
)
SELECT
    id,
    id IN (SELECT id FROM waiting) OR id IN (SELECT id FROM executing) OR id IN (SELECT unnest(ids) FROM logged)
FROM job
