-- Returns one job.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT
    +id, +executor, +status, +data, +metadata, +attempt, +max_attempts, +priority, +tags, +errors, +claims,
    +snoozes, +losses, +node, +cancel_reason, +unique_key, +revision, +inserted_at, +scheduled_at, +attempted_at,
    +completed_at, +cancelled_at, +discarded_at, +expires_at, NULL, +headers
FROM rexecutor_jobs
WHERE id = :id
