-- Returns jobs that expired before they started: at most `limit`, those that expired first. Index:
-- rexecutor_queue_expiring.
-- Python cannot read a moment before `earliest`. Such a job is left to a claim, like other jobs that cannot be read, or
-- whose row does not agree with that in the queue.
SELECT
    job.id, job.executor, status, data, metadata, attempt, max_attempts, job.priority, tags, errors, claims, snoozes, losses,
    NULL, NULL, unique_key, revision, inserted_at, job.scheduled_at, attempted_at, completed_at, cancelled_at, discarded_at,
    job.expires_at, NULL, headers
FROM rexecutor_queue AS waiting INDEXED BY rexecutor_queue_expiring CROSS JOIN rexecutor_stored_jobs AS job
WHERE waiting.expires_at BETWEEN :earliest AND :now AND job.id = waiting.id
    AND job.expires_at BETWEEN :earliest AND :now AND attempt = 0 AND snoozes = 0
    AND status IN ('scheduled', 'retryable')
ORDER BY waiting.expires_at
LIMIT :limit
