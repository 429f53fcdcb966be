-- A heartbeat, in one statement, so that a process that stops in the middle of it holds no lock.
-- 1. Begins or renews a node's lease, even if it has run out: while the node's row exists, not all of its jobs have
--    been rescued.
-- 2. Reschedules, cancels or discards the jobs of other nodes without a live lease, as `rules.transition` does for
--    `Lost`, and deletes those nodes when none of their jobs is left.
-- 3. Cancels waiting jobs that have expired, those that expired first, as `rules.transition` does for `Expired`.
-- 4. Deletes scopes that have not been taken for a day. Until then, a transaction with an older snapshot must find that
--    its scope has changed.
-- 5. Notifies those who wait for the end of jobs, if any has ended by this.
-- Returns whether the lease began, how many jobs were rescued, how many had expired, and one row for each requested
-- cancel of a job that the node runs. Rows that others have locked are left to the next heartbeat, so it never waits.
-- Indexes: jobs_running, jobs_expiring, scopes_taken.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
renewed AS (
    INSERT INTO "rexecutor".nodes AS node (id, name, started_at, lease_until, epoch)
    SELECT
        %(node)s, %(name)s, clock.now,
        (clock.now AT TIME ZONE 'UTC' + %(lease)s::interval) AT TIME ZONE 'UTC',  -- elsewhere a day may last 23 h
        %(epoch)s
    FROM clock
    ON CONFLICT (id) DO UPDATE SET
        lease_until = excluded.lease_until,
        epoch = greatest(node.epoch, excluded.epoch)
    RETURNING node.xmax = 0 AS has_begun
),
lost AS (
    SELECT job.id, job.claims FROM "rexecutor".jobs AS job, clock
    WHERE %(rescues)s AND job.status = 'executing' AND job.node IS DISTINCT FROM %(node)s AND NOT EXISTS (
        SELECT FROM "rexecutor".nodes AS node WHERE node.id = job.node AND node.lease_until > clock.now
    )
    ORDER BY job.id
),
-- The lock reads what others have committed since the heartbeat began, such as a cancel or other fields. A job that has been
-- claimed since is left alone. Only `claims` shows that, because the nodes are those of the heartbeat's beginning.
orphans AS MATERIALIZED (
    SELECT job.* FROM lost CROSS JOIN LATERAL (
        SELECT held.id, held.attempt, held.max_attempts, held.losses, held.cancel_reason
        FROM "rexecutor".jobs AS held
        WHERE held.id = lost.id AND held.claims = lost.claims AND held.node IS NOT NULL
        FOR UPDATE SKIP LOCKED
    ) AS job
),
decided AS (
    SELECT
        orphans.id,
        clock.now,
        CASE
            WHEN orphans.cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN orphans.attempt >= orphans.max_attempts OR orphans.losses >= %(most_losses)s - 1 THEN 'discarded'
            ELSE 'retryable'
        END AS status
    FROM orphans, clock
),
rescued AS (
    UPDATE "rexecutor".jobs AS job SET
        status = decided.status,
        node = NULL,
        cancel_reason = NULL,
        losses = least(job.losses, 2147483646) + 1,
        revision = least(job.revision, 9223372036854775806) + 1,
        scheduled_at = CASE
            WHEN decided.status <> 'retryable' THEN job.scheduled_at
            WHEN job.losses >= 1 THEN decided.now + make_interval(secs => mod(abs(job.id), 100) / 10.0)
            ELSE least(job.scheduled_at, decided.now)
        END,
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
    WHERE job.id = ANY(ARRAY[decided.id])  -- as in `settle_jobs`
    RETURNING job.id
),
-- By ctid: a node that has been renewed since the heartbeat began has another ctid, and stays.
forgotten AS (
    DELETE FROM "rexecutor".nodes WHERE ctid = ANY(ARRAY(
        SELECT node.ctid FROM "rexecutor".nodes AS node, clock
        WHERE %(rescues)s AND node.lease_until <= clock.now AND node.id <> %(node)s AND NOT EXISTS (
            SELECT FROM "rexecutor".jobs AS job
            WHERE job.status = 'executing' AND job.node = node.id AND job.id NOT IN (SELECT orphans.id FROM orphans)
        )
        FOR UPDATE OF node SKIP LOCKED
    ))
),
-- By ctid: a job that was claimed, cancelled or changed since the heartbeat began has another ctid, and is left alone.
expired AS (
    UPDATE "rexecutor".jobs AS job SET
        due = false,
        status = 'cancelled',
        errors = "rexecutor".latest(
            job.errors || "rexecutor".error(job.attempt, 'expired', 'Expired', %(expired)s::text, clock.now),
            %(most_errors)s
        ),
        cancelled_at = clock.now
    FROM clock
    WHERE job.ctid = ANY(ARRAY(
        SELECT waiting.ctid FROM "rexecutor".jobs AS waiting
        WHERE %(rescues)s AND waiting.expires_at IS NOT NULL AND waiting.attempt = 0 AND waiting.snoozes = 0
            AND waiting.status NOT IN ('executing', 'complete', 'cancelled', 'discarded')
            AND waiting.expires_at <= (SELECT clock.now FROM clock)
        ORDER BY waiting.expires_at
        LIMIT %(most_expired)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING job.id
),
forgotten_scopes AS (
    DELETE FROM "rexecutor".scopes
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM "rexecutor".scopes
        WHERE taken_at < clock_timestamp() - interval '24 hours'
        ORDER BY taken_at
        LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ))
)
SELECT
    renewed.has_begun, (SELECT count(*) FROM rescued), (SELECT count(*) FROM expired), asked.id, asked.claims,
    asked.cancel_reason,
    (SELECT count(pg_notify(%(channel)s::text, %(ended)s::text)) FROM (
        SELECT FROM expired UNION ALL SELECT FROM decided WHERE decided.status <> 'retryable' LIMIT 1
    ) AS ends)
FROM renewed LEFT JOIN "rexecutor".jobs AS asked
    ON asked.status = 'executing' AND asked.node = %(node)s AND asked.cancel_reason IS NOT NULL
ORDER BY asked.id
