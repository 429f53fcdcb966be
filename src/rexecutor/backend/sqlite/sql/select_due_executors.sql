-- Lists the executors that have due jobs, with one step along the index for each executor, however many jobs it has.
-- Index: rexecutor_queue_due.
WITH RECURSIVE found (executor) AS (
    SELECT min(executor) FROM rexecutor_queue WHERE due = 1 AND flow IS NULL
    UNION ALL
    SELECT (SELECT min(executor) FROM rexecutor_queue WHERE due = 1 AND flow IS NULL AND executor > found.executor)
    FROM found
    WHERE found.executor IS NOT NULL
)
SELECT executor FROM found WHERE executor IS NOT NULL
