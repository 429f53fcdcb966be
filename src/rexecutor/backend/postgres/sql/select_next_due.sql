-- Answers the database's time, and when the next job falls due. Index: jobs_later.
SELECT coalesce(%(now)s::timestamptz, now()), (
    SELECT min(scheduled_at) FROM "rexecutor".jobs WHERE NOT due AND status IN ('scheduled', 'retryable')
)
