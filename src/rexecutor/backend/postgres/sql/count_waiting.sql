-- Returns for each of the executors how many of its jobs wait, how many of these are due, and when the first due one fell
-- due. Counts at most `most` of each, those that are due first, and reads as many entries of the index. Index:
-- queue_open. The planner does not see the limit in the subquery. If it knew of a large one, it would read and sort all
-- jobs of the executor.
-- A moment that Python cannot read, which somebody has written by hand, is replaced by the nearest that it can.
SELECT given.executor, counted.waiting, counted.due, counted.oldest
FROM unnest(%(executors)s::text[]) AS given (executor)
CROSS JOIN LATERAL (
    SELECT
        count(*) AS waiting,
        count(*) FILTER (WHERE one.scheduled_at <= coalesce(%(now)s::timestamptz, now())) AS due,
        min(greatest(one.scheduled_at, '0001-01-02 00:00:00+00'))
            FILTER (WHERE one.scheduled_at <= coalesce(%(now)s::timestamptz, now())) AS oldest
    FROM (
        SELECT each.scheduled_at FROM "rexecutor".queue AS each
        WHERE each.executor = given.executor
        ORDER BY each.scheduled_at
        LIMIT (SELECT %(most)s::bigint)
    ) AS one
) AS counted
