-- Answers the jobs that a node runs, locked. Index: jobs_running.
SELECT
    id, executor, status, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims,
    snoozes, losses, node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at,
    cancelled_at, discarded_at
FROM "rexecutor".jobs
WHERE status = 'executing' AND node = %(node)s
ORDER BY id
FOR UPDATE
