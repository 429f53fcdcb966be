-- Returns one job, locked until the transaction ends. `lock_place` has locked the row that says where it stands.
SELECT
    job.id, job.executor, CASE WHEN run.id IS NULL THEN job.status ELSE 'executing' END, job.data::text, job.metadata::text,
    coalesce(run.attempt, job.attempt), job.max_attempts, job.priority, job.tags, job.errors::text,
    coalesce(run.claims, job.claims), job.snoozes, job.losses, run.node, run.cancel_reason, job.unique_key,
    job.revision, job.inserted_at, job.scheduled_at, coalesce(run.attempted_at, job.attempted_at), job.completed_at,
    job.cancelled_at, job.discarded_at, job.expires_at, NULL, job.headers::text
FROM "rexecutor".stored_jobs AS job LEFT JOIN "rexecutor".running AS run ON run.id = job.id
WHERE job.id = %(id)s
FOR UPDATE OF job
