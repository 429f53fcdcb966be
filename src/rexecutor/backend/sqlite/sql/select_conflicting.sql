-- Returns the first job that conflicts with a new one; the condition comes from `rules.conflicting`.
-- Index: rexecutor_jobs_unique_key, rexecutor_jobs_open_key, rexecutor_jobs_open or rexecutor_jobs_scheduled; see `index_for`.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT
    +id, +executor, +status, +data, +metadata, +attempt, +max_attempts, +priority, +tags, +errors, +claims,
    +snoozes, +losses, +node, +cancel_reason, +unique_key, +revision, +inserted_at, +scheduled_at, +attempted_at,
    +completed_at, +cancelled_at, +discarded_at, +expires_at, NULL
FROM rexecutor_jobs /* index */
WHERE /* where */
ORDER BY scheduled_at, id
LIMIT 1
