-- Deletes jobs that ended with `status` more than `age` ago. Oldest end first, at most `limit` in all, and none that is
-- locked. Index: jobs_ended, one step for each executor with such jobs, and a short scan for each executor to prune.
WITH RECURSIVE names AS (
    (
        SELECT executor FROM "rexecutor".jobs
        WHERE status = %(status)s AND ended_at IS NOT NULL
        ORDER BY executor
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT job.executor FROM "rexecutor".jobs AS job
        WHERE job.status = %(status)s AND job.ended_at IS NOT NULL AND job.executor > names.executor
        ORDER BY job.executor
        LIMIT 1
    )
    FROM names WHERE names.executor IS NOT NULL
)
-- By ctid: a job that was rerun between this statement's snapshot and its lock has another ctid. So it is not found,
-- and stays. By its id it would be found and deleted.
DELETE FROM "rexecutor".jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".jobs WHERE id = ANY(ARRAY(
        SELECT old.id FROM names CROSS JOIN LATERAL (
            SELECT job.id, job.ended_at FROM "rexecutor".jobs AS job
            WHERE job.status = %(status)s AND job.executor = names.executor AND job.ended_at IS NOT NULL
                -- In UTC: elsewhere a day may have 23 or 25 hours.
                AND job.ended_at < (
                    coalesce(%(now)s::timestamptz, now()) AT TIME ZONE 'UTC' - %(age)s::interval
                ) AT TIME ZONE 'UTC'
            ORDER BY job.ended_at, job.id
            LIMIT %(limit)s
        ) AS old
        WHERE (names.executor = ANY(%(executors)s)) <> %(is_except)s
        ORDER BY old.ended_at, old.id
        LIMIT %(limit)s
    ))
    FOR UPDATE SKIP LOCKED
))
