-- The end of a pruning: deletes the jobs in `doomed` and takes them out of the log.
-- A row of the log that changed between this statement's snapshot and its lock has another ctid, for example because
-- one of its jobs was rerun. It is left to the next batch.
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
-- Jobs are found by ctid, so one that somebody has changed since the snapshot is not found, and stays.
deleted AS (
    DELETE FROM "rexecutor".stored_jobs WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "rexecutor".stored_jobs
        WHERE ctid = ANY(ARRAY(SELECT job_place FROM found WHERE job_place IS NOT NULL))
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
),
gone AS MATERIALIZED (
    -- A job that is not found was deleted or changed by hand. The log forgets it, too.
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
