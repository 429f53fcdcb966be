-- Marks jobs whose time has come as due, the earliest first. Index: rexecutor_jobs_later.
UPDATE rexecutor_jobs SET due = 1
WHERE id IN (
    SELECT id FROM rexecutor_jobs
    WHERE due = 0 AND status IN ('scheduled', 'retryable') AND scheduled_at <= :now
    ORDER BY scheduled_at
    LIMIT :limit
)
