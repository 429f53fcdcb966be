-- Locks the row that says where a job stands: in `queue` if it waits, in `running` if it executes. If it has ended,
-- locks its row of the log, `ended`, but only with `changes_ended`. Every change of a job locks this row before that of
-- the job.
-- Returns no row if the job was not stored when the statement began. Otherwise the row says whether the job had ended
-- then, and whether a row is locked. If none is locked although the job had not ended, the job has moved while the
-- statement waited.
-- Indexes: the primary keys, and ended_by.
WITH waiting AS (
    SELECT FROM "rexecutor".queue WHERE id = %(id)s FOR UPDATE
),
executing AS (
    SELECT FROM "rexecutor".running WHERE id = %(id)s FOR UPDATE
),
logged AS (
    SELECT FROM "rexecutor".stored_jobs AS job CROSS JOIN LATERAL (
        SELECT FROM "rexecutor".ended AS log
        WHERE log.status = job.status AND log.executor = job.executor
            AND log.ended_at = coalesce(job.completed_at, job.cancelled_at, job.discarded_at)
            AND log.ids @> ARRAY[job.id]
        FOR UPDATE
    ) AS log
    WHERE %(changes_ended)s::boolean AND job.id = %(id)s
)
SELECT
    status IN ('complete', 'cancelled', 'discarded'),
    EXISTS (SELECT FROM waiting) OR EXISTS (SELECT FROM executing) OR EXISTS (SELECT FROM logged)
FROM "rexecutor".jobs WHERE id = %(id)s
