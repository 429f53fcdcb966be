-- Returns the executors that have waiting jobs: how many of these are due, how many are not, at most `most` each, and when
-- the first due job fell due. One step along the index for each executor, and then at most twice `most` entries.
-- Index: queue_open. A moment that Python cannot read, which somebody has written by hand, is replaced by the nearest
-- that it can.
WITH RECURSIVE clock (now) AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
found (executor) AS (
    SELECT coalesce(%(executor)s::text, (SELECT min(first.executor) FROM "rexecutor".queue AS first))
    UNION ALL
    SELECT (
        SELECT min(later.executor) FROM "rexecutor".queue AS later WHERE later.executor > found.executor
    )
    FROM found
    WHERE found.executor IS NOT NULL AND %(executor)s::text IS NULL
)
SELECT
    found.executor,
    (SELECT count(*) FROM (
        SELECT FROM "rexecutor".queue AS one
        WHERE one.executor = found.executor AND one.scheduled_at <= clock.now
        ORDER BY one.scheduled_at
        LIMIT %(most)s
    ) AS counted),
    (SELECT count(*) FROM (
        SELECT FROM "rexecutor".queue AS one
        WHERE one.executor = found.executor AND one.scheduled_at > clock.now
        ORDER BY one.scheduled_at
        LIMIT %(most)s
    ) AS counted),
    (
        SELECT greatest(one.scheduled_at, '0001-01-02 00:00:00+00') FROM "rexecutor".queue AS one
        WHERE one.executor = found.executor AND one.scheduled_at <= clock.now
        ORDER BY one.scheduled_at
        LIMIT 1
    )
FROM found, clock
WHERE found.executor IS NOT NULL
