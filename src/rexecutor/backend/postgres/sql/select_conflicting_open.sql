-- Returns the same as `select_conflicting`, for a job that is unique by its executor among jobs that have not ended.
-- `start` and `until` are the ends of its window, both in, or NULL without one. Indexes: queue_open, and the primary
-- key of stored_jobs; `running` is small and read whole.
(
    SELECT job.id, job.status, job.claims, job.revision, job.scheduled_at
    FROM "rexecutor".queue AS waiting CROSS JOIN LATERAL (
        -- The limit keeps the planner from beginning with this table.
        SELECT * FROM "rexecutor".jobs WHERE id = waiting.id AND /* where */ LIMIT 1
    ) AS job
    WHERE waiting.executor = %(executor)s AND waiting.scheduled_at >= coalesce(%(start)s::timestamptz, '-infinity')
        AND waiting.scheduled_at <= coalesce(%(until)s::timestamptz, 'infinity')
    ORDER BY waiting.scheduled_at, waiting.id
    LIMIT 1
)
UNION ALL
(
    SELECT job.id, job.status, job.claims, job.revision, job.scheduled_at
    FROM "rexecutor".running AS run CROSS JOIN LATERAL (
        SELECT * FROM "rexecutor".jobs WHERE id = run.id AND /* where */ LIMIT 1
    ) AS job
    WHERE run.executor = %(executor)s
    ORDER BY job.scheduled_at, job.id
    LIMIT 1
)
ORDER BY scheduled_at, id
LIMIT 1
