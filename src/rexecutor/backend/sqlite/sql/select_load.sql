-- Returns the executors that have jobs which have not ended: how many of these are due, how many are not, at most `most`
-- each, and when the first due job that waits fell due. Executing jobs are counted too: the caller subtracts
-- them.
-- One step along the index for each executor, and then at most twice `most` entries. Index: rexecutor_jobs_open. A moment
-- that Python cannot read, which somebody has written by hand, is replaced by the nearest that it can.
WITH RECURSIVE found (executor) AS (
    SELECT coalesce(:executor, (
        SELECT min(executor) FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open WHERE ended_at IS NULL
    ))
    UNION ALL
    SELECT (
        SELECT min(executor) FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open
        WHERE ended_at IS NULL AND executor > found.executor
    )
    FROM found
    WHERE found.executor IS NOT NULL AND :executor IS NULL
)
SELECT
    found.executor,
    (SELECT count(*) FROM (
        SELECT 1 FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open
        WHERE ended_at IS NULL AND executor = found.executor AND scheduled_at <= :now
        LIMIT :most
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open
        WHERE ended_at IS NULL AND executor = found.executor AND scheduled_at > :now
        LIMIT :most
    )),
    (
        SELECT max(job.scheduled_at, -62135510400000000)
        FROM rexecutor_stored_jobs AS job INDEXED BY rexecutor_jobs_open
        WHERE job.ended_at IS NULL AND job.executor = found.executor AND job.scheduled_at <= :now
            AND EXISTS (SELECT 1 FROM rexecutor_queue AS waiting WHERE waiting.id = job.id)
        ORDER BY job.scheduled_at
        LIMIT 1
    )
FROM found
WHERE found.executor IS NOT NULL
