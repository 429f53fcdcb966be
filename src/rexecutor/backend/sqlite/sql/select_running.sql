-- Returns the jobs that a node runs. Index: rexecutor_jobs_running.
SELECT
    id, executor, status, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
    node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at, cancelled_at, discarded_at,
    expires_at, NULL
FROM rexecutor_jobs
WHERE status = 'executing' AND node = :node
ORDER BY id
