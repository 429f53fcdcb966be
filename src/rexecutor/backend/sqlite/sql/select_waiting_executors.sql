-- Returns the executors that have jobs which have not ended, by one step along the index for each. Index:
-- rexecutor_jobs_open.
WITH RECURSIVE found (executor) AS (
    SELECT min(executor) FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open WHERE ended_at IS NULL
    UNION ALL
    SELECT (
        SELECT min(executor) FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open
        WHERE ended_at IS NULL AND executor > found.executor
    )
    FROM found
    WHERE found.executor IS NOT NULL
)
SELECT executor FROM found WHERE executor IS NOT NULL
