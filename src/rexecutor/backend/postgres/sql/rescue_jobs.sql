-- Gives on, or discards, the jobs of nodes without a live lease, and forgets those nodes: the twin of the change `Lost`.
-- Rows are locked in the order of ids, and those that somebody else has locked are left to the next beat; a node is
-- forgotten only when none of its jobs is left. Index: jobs_running.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
orphans AS MATERIALIZED (
    SELECT job.id FROM "rexecutor".jobs AS job, clock
    WHERE job.status = 'executing' AND NOT EXISTS (
        SELECT FROM "rexecutor".nodes AS node WHERE node.id = job.node AND node.lease_until > clock.now
    )
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
),
decided AS (
    SELECT
        job.id,
        clock.now,
        CASE
            WHEN job.cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN job.attempt >= job.max_attempts OR job.losses + 1 >= %(most_losses)s THEN 'discarded'
            ELSE 'retryable'
        END AS status
    FROM orphans JOIN "rexecutor".jobs AS job ON job.id = orphans.id, clock
),
rescued AS (
    UPDATE "rexecutor".jobs AS job SET
        status = decided.status,
        node = NULL,
        cancel_reason = NULL,
        losses = job.losses + 1,
        revision = job.revision + 1,
        scheduled_at = CASE WHEN decided.status = 'retryable' THEN decided.now ELSE job.scheduled_at END,
        errors = "rexecutor".latest(
            job.errors
            || "rexecutor".error(job.attempt, 'lost', 'NodeLost', %(lost)s::text, decided.now)
            || CASE WHEN decided.status = 'cancelled' THEN "rexecutor".error(
                job.attempt, 'cancelled', 'Cancel', job.cancel_reason, decided.now
            ) ELSE '[]'::jsonb END,
            %(most_errors)s
        ),
        cancelled_at = CASE WHEN decided.status = 'cancelled' THEN decided.now END,
        discarded_at = CASE WHEN decided.status = 'discarded' THEN decided.now END
    FROM decided
    WHERE job.id = decided.id
    RETURNING job.id
),
forgotten AS (
    DELETE FROM "rexecutor".nodes AS node USING clock
    WHERE node.lease_until <= clock.now AND NOT EXISTS (
        SELECT FROM "rexecutor".jobs AS job
        WHERE job.status = 'executing' AND job.node = node.id AND job.id NOT IN (SELECT orphans.id FROM orphans)
    )
)
SELECT count(*) FROM rescued
