-- Returns the executing jobs of a node, locked, except those that it knows to hold: an application's transaction may
-- keep these locked until its commit. Index: jobs_running.
SELECT
    id, executor, status, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims,
    snoozes, losses, node, cancel_reason, unique_key, revision, inserted_at, scheduled_at, attempted_at, completed_at,
    cancelled_at, discarded_at, expires_at, NULL
FROM "rexecutor".jobs AS job
WHERE status = 'executing' AND node = %(node)s AND NOT EXISTS (
    SELECT FROM unnest(%(ids)s::bigint[], %(claims)s::bigint[]) AS held (id, claims)
    WHERE held.id = job.id AND held.claims = job.claims
)
ORDER BY id
FOR UPDATE OF job
