-- Returns the executing jobs of nodes without a live lease. Index: rexecutor_jobs_running.
SELECT
    id, executor, status, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
    node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at, cancelled_at, discarded_at,
    expires_at, NULL
FROM rexecutor_jobs INDEXED BY rexecutor_jobs_running
WHERE status = 'executing' AND NOT EXISTS (
    SELECT 1 FROM rexecutor_nodes WHERE rexecutor_nodes.id = rexecutor_jobs.node AND lease_until > :now
)
