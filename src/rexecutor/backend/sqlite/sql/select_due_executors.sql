-- Lists the executors that have due jobs: one step along the index for each, however many jobs it has.
-- Index: rexecutor_jobs_due.
WITH RECURSIVE found (executor) AS (
    SELECT min(executor) FROM rexecutor_jobs WHERE due = 1
    UNION ALL
    SELECT (SELECT min(executor) FROM rexecutor_jobs WHERE due = 1 AND executor > found.executor)
    FROM found
    WHERE found.executor IS NOT NULL
)
SELECT executor FROM found WHERE executor IS NOT NULL
