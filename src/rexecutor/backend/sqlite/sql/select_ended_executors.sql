-- Lists the executors with jobs that ended in a status: one step along the index for each.
-- Index: rexecutor_jobs_ended.
WITH RECURSIVE found (executor) AS (
    SELECT min(executor) FROM rexecutor_stored_jobs WHERE status = :status AND ended_at IS NOT NULL
    UNION ALL
    SELECT (
        SELECT min(executor) FROM rexecutor_stored_jobs
        WHERE status = :status AND ended_at IS NOT NULL AND executor > found.executor
    )
    FROM found
    WHERE found.executor IS NOT NULL
)
SELECT executor FROM found WHERE executor IS NOT NULL
