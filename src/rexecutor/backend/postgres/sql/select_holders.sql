-- Returns which nodes execute how many jobs of which executors, and of each the job that was claimed first. `running` is
-- small and read whole.
SELECT
    executor, node, count(*),
    min(least(greatest(attempted_at, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00')),
    (array_agg(id ORDER BY attempted_at, id))[1]
FROM "rexecutor".running
WHERE %(executor)s::text IS NULL OR executor = %(executor)s
GROUP BY executor, node
