-- Returns those of the jobs that match, in order of id; the condition comes from `compile_where`. It stands in a CASE, so
-- that no index but the primary key can serve.
SELECT
    id, executor, status, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
    node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at, cancelled_at, discarded_at,
    expires_at, NULL, headers
FROM rexecutor_jobs
WHERE id IN (SELECT value FROM json_each(:ids)) AND CASE WHEN /* where */ THEN 1 END
ORDER BY id
