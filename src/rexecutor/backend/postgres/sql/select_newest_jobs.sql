-- Returns a page of jobs, the newest first; the condition comes from `compile_where`. Index: a primary key, read
-- backwards, as for `select_jobs`.
SELECT
    id, executor, status, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims,
    snoozes, losses, node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at,
    cancelled_at, discarded_at, expires_at, result::text, headers::text
FROM "rexecutor".jobs
WHERE id < %(after)s AND /* where */
ORDER BY id DESC
LIMIT %(limit)s
