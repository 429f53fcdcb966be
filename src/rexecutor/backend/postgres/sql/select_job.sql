-- Returns one job, locked until the transaction ends.
SELECT
    id, executor, status, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims,
    snoozes, losses, node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at,
    cancelled_at, discarded_at, expires_at, NULL
FROM "rexecutor".jobs
WHERE id = %(id)s
FOR UPDATE
