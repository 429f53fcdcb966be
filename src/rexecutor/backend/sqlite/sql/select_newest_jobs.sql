-- Returns a page of jobs, the newest first; the condition comes from `compile_where`.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT
    +id, +executor, +status, +data, +metadata, +attempt, +max_attempts, +priority, +tags, +errors, +claims,
    +snoozes, +losses, +node, +cancel_reason, +unique_key, +revision, +inserted_at, +scheduled_at, +attempted_at,
    +completed_at, +cancelled_at, +discarded_at, +expires_at, +result, +headers
FROM rexecutor_jobs
WHERE id < :after AND /* where */
ORDER BY id DESC
LIMIT :limit
