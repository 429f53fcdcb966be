-- Returns the first job that conflicts with a new unique one: its id, and the columns that show whether it has changed
-- since then. Locks nothing. The condition comes from `rules.conflicting`. Index: jobs_unique_key for criteria with a
-- key, otherwise jobs_scheduled.
SELECT id, status, claims, revision
FROM "rexecutor".jobs
WHERE /* where */
ORDER BY scheduled_at, id
LIMIT 1
