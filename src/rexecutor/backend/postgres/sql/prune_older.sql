-- Deletes jobs that ended with `status` more than `age` ago, and returns their number. Deletes the jobs that ended
-- first, at most `limit` in all, and none that is locked. Indexes: ended_by, one step for each executor with such jobs,
-- and a short scan for each executor to prune; the primary key of stored_jobs.
-- include prune_names
old AS (
    SELECT log.*, sum(log.jobs) OVER (ORDER BY log.ended_at) - sum(log.jobs) OVER (PARTITION BY log.ended_at) AS older
    FROM names CROSS JOIN LATERAL (
        SELECT log.ctid AS place, log.ended_at, log.jobs, log.ids FROM "rexecutor".ended AS log
        WHERE log.status = %(status)s AND log.executor = names.executor
            -- The age is subtracted in UTC. In other time zones a day may have 23 or 25 hours.
            AND log.ended_at < (
                coalesce(%(now)s::timestamptz, now()) AT TIME ZONE 'UTC' - %(age)s::interval
            ) AT TIME ZONE 'UTC'
        ORDER BY log.ended_at
        FETCH FIRST (%(limit)s) ROWS WITH TIES
    ) AS log
    WHERE (names.executor = ANY(%(executors)s)) <> %(is_except)s
),
doomed AS MATERIALIZED (
    SELECT old.place, old.ended_at, id FROM old CROSS JOIN LATERAL unnest(old.ids) AS id
    WHERE old.older < %(limit)s
    ORDER BY old.ended_at, id
    LIMIT %(limit)s
),
-- include prune_doomed
