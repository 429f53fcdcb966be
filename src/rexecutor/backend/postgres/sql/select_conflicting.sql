-- Returns the first job that conflicts with a new unique one, locked; the condition comes from `rules.conflicting`.
-- Index: jobs_unique_key, jobs_open or jobs_scheduled.
SELECT
    id, executor, status, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims,
    snoozes, losses, node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at,
    cancelled_at, discarded_at, expires_at, NULL
FROM "rexecutor".jobs
WHERE /* where */
ORDER BY scheduled_at, id
LIMIT 1
FOR UPDATE
