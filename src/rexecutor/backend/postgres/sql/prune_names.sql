-- The beginning of a pruning: the names of the executors with jobs that ended with `status`, one step along the index
-- for each.
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
