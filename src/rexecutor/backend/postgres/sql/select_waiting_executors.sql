-- Returns the executors that have waiting jobs, by one step along the index for each. Index: queue_open.
WITH RECURSIVE found (executor) AS (
    SELECT min(first.executor) FROM "rexecutor".queue AS first
    UNION ALL
    SELECT (SELECT min(later.executor) FROM "rexecutor".queue AS later WHERE later.executor > found.executor)
    FROM found
    WHERE found.executor IS NOT NULL
)
SELECT executor FROM found WHERE executor IS NOT NULL
