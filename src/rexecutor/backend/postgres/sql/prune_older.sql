-- Deletes jobs that ended with `status` more than `age` ago, and returns their number. Oldest end first, at most `limit`
-- in all, and none that is locked. Index: ended_by, one step for each executor with such jobs, and a short scan for each
-- executor to prune; the primary key of stored_jobs.
WITH RECURSIVE names AS (
    (
        SELECT executor FROM "rexecutor".ended
        WHERE status = %(status)s
        ORDER BY executor
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT log.executor FROM "rexecutor".ended AS log
        WHERE log.status = %(status)s AND log.executor > names.executor
        ORDER BY log.executor
        LIMIT 1
    )
    FROM names WHERE names.executor IS NOT NULL
),
old AS (
    SELECT log.*, sum(log.jobs) OVER (ORDER BY log.ended_at) - sum(log.jobs) OVER (PARTITION BY log.ended_at) AS older
    FROM names CROSS JOIN LATERAL (
        SELECT log.ctid AS place, log.ended_at, log.jobs, log.ids FROM "rexecutor".ended AS log
        WHERE log.status = %(status)s AND log.executor = names.executor
            -- In UTC: elsewhere a day may have 23 or 25 hours.
            AND log.ended_at < (
                coalesce(%(now)s::timestamptz, now()) AT TIME ZONE 'UTC' - %(age)s::interval
            ) AT TIME ZONE 'UTC'
        ORDER BY log.ended_at
        FETCH FIRST (%(limit)s) ROWS WITH TIES
    ) AS log
    WHERE (names.executor = ANY(%(executors)s)) <> %(is_except)s
),
doomed AS MATERIALIZED (
    SELECT old.place, old.ended_at, id FROM old CROSS JOIN LATERAL unnest(old.ids) AS id
    WHERE old.older < %(limit)s
    ORDER BY old.ended_at, id
    LIMIT %(limit)s
),
-- A row of the log that changed between this statement's snapshot and its lock has another ctid, so it is left to the
-- next batch: perhaps one of its jobs was rerun.
held AS MATERIALIZED (
    SELECT ctid AS place FROM "rexecutor".ended WHERE ctid = ANY(ARRAY(SELECT DISTINCT place FROM doomed))
    FOR UPDATE SKIP LOCKED
),
found AS MATERIALIZED (
    SELECT doomed.place, doomed.id, job.ctid AS job_place
    FROM doomed JOIN held ON held.place = doomed.place LEFT JOIN LATERAL (
        SELECT job.ctid FROM "rexecutor".stored_jobs AS job
        WHERE job.id = doomed.id AND job.status = %(status)s
            AND coalesce(job.completed_at, job.cancelled_at, job.discarded_at) = doomed.ended_at
    ) AS job ON true
),
-- By ctid: a job that somebody has changed since the snapshot is not found, and stays.
deleted AS (
    DELETE FROM "rexecutor".stored_jobs WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "rexecutor".stored_jobs
        WHERE ctid = ANY(ARRAY(SELECT job_place FROM found WHERE job_place IS NOT NULL))
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
),
gone AS MATERIALIZED (
    -- Somebody may have deleted a job by hand.
    SELECT place, id FROM found WHERE job_place IS NULL OR id IN (SELECT deleted.id FROM deleted)
),
cuts AS (
    SELECT place, count(*) AS jobs, array_agg(id) AS ids FROM gone GROUP BY place
),
emptied AS (
    DELETE FROM "rexecutor".ended AS log USING cuts WHERE log.ctid = cuts.place AND log.jobs = cuts.jobs
),
shortened AS (
    UPDATE "rexecutor".ended AS log SET ids = ARRAY(SELECT unnest(log.ids) EXCEPT SELECT unnest(cuts.ids) ORDER BY 1)
    FROM cuts WHERE log.ctid = cuts.place AND log.jobs > cuts.jobs
)
SELECT count(*) FROM gone
