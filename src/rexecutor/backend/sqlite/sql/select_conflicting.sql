-- Returns the first job that conflicts with a new one; the condition comes from `rules.conflicting`.
-- Index: rexecutor_jobs_unique_key, rexecutor_jobs_open_key, rexecutor_jobs_open or rexecutor_jobs_scheduled: see
-- `index_for`. The view `rexecutor_jobs` is not used, because an index can be named for a table only.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT
    +id, +executor, +status, +data, +metadata, +attempt, +max_attempts, +priority, +tags, +errors, +claims,
    +snoozes, +losses, +node, +cancel_reason, +unique_key, +revision, +inserted_at, +scheduled_at, +attempted_at,
    +completed_at, +cancelled_at, +discarded_at, +expires_at, NULL, +headers
FROM (
    SELECT
        job.id, job.executor, CASE WHEN run.id IS NULL THEN status ELSE 'executing' END AS status, data, metadata,
        coalesce(run.attempt, job.attempt) AS attempt, max_attempts, priority, tags, errors,
        coalesce(run.claims, job.claims) AS claims, snoozes, losses, node, cancel_reason, unique_key, revision,
        inserted_at, scheduled_at, coalesce(run.attempted_at, job.attempted_at) AS attempted_at, completed_at, cancelled_at,
        discarded_at, ended_at, expires_at, headers
    FROM rexecutor_stored_jobs AS job /* index */ LEFT JOIN rexecutor_running AS run ON run.id = job.id
)
WHERE /* where */
ORDER BY scheduled_at, id
LIMIT 1
