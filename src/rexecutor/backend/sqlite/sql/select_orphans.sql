-- Returns the executing jobs of nodes without a live lease. Reads all executing jobs, which are few.
SELECT
    job.id, job.executor, 'executing', data, metadata, run.attempt, max_attempts, priority, tags, errors, run.claims, snoozes, losses,
    run.node, run.cancel_reason, unique_key, revision, inserted_at, job.scheduled_at, run.attempted_at, completed_at, cancelled_at, discarded_at,
    job.expires_at, NULL, headers
FROM rexecutor_running AS run CROSS JOIN rexecutor_stored_jobs AS job
WHERE job.id = run.id AND NOT EXISTS (
    SELECT 1 FROM rexecutor_nodes WHERE rexecutor_nodes.id = run.node AND lease_until > :now
)
