-- Returns the jobs that expired before they started, the longest expired first. Index: rexecutor_jobs_expiring.
-- A moment before `earliest` cannot be read: such a job is left to a claim, like other rows that cannot be read.
SELECT
    id, executor, status, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
    node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at, cancelled_at, discarded_at,
    expires_at, NULL
FROM rexecutor_jobs INDEXED BY rexecutor_jobs_expiring
WHERE expires_at BETWEEN :earliest AND :now AND attempt = 0 AND snoozes = 0 AND status IN ('scheduled', 'retryable')
    AND expires_at IS NOT NULL
ORDER BY expires_at
LIMIT :limit
