-- Returns the first job that conflicts with a new unique one, by its id and what shows each change of it; the condition
-- comes from `rules.conflicting`. Index: jobs_unique_key or jobs_scheduled.
SELECT id, status, claims, revision
FROM "rexecutor".jobs
WHERE /* where */
ORDER BY scheduled_at, id
LIMIT 1
