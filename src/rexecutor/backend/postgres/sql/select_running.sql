-- Returns the executing jobs of a node, locked, except those whose claims are given in `ids` and `claims`: an
-- application's transaction may keep those locked until its commit. Of each job, the row of `running` is locked first.
-- Index: the primary key of stored_jobs; `running` is small and read whole.
WITH ours AS MATERIALIZED (
    SELECT run.* FROM "rexecutor".running AS run
    WHERE run.node = %(node)s AND NOT EXISTS (
        SELECT FROM unnest(%(ids)s::bigint[], %(claims)s::bigint[]) AS held (id, claims)
        WHERE held.id = run.id AND held.claims = run.claims
    )
    ORDER BY run.id
    FOR UPDATE OF run
)
SELECT
    job.id, job.executor, CASE WHEN run.id IS NULL THEN job.status ELSE 'executing' END, job.data::text, job.metadata::text,
    coalesce(run.attempt, job.attempt), job.max_attempts, job.priority, job.tags, job.errors::text,
    coalesce(run.claims, job.claims), job.snoozes, job.losses, run.node, run.cancel_reason, job.unique_key,
    job.revision, job.inserted_at, job.scheduled_at, coalesce(run.attempted_at, job.attempted_at), job.completed_at,
    job.cancelled_at, job.discarded_at, job.expires_at, NULL
FROM ours AS run CROSS JOIN LATERAL (
    SELECT * FROM "rexecutor".stored_jobs WHERE id = run.id FOR UPDATE
) AS job
ORDER BY job.id
