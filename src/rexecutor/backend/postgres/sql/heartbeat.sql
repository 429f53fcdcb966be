-- A heartbeat, in one statement, so that a process that stops in the middle of it holds no lock.
-- 1. Begins or renews a node's lease, even if it has run out: while the node's row exists, not all of its jobs have
--    been rescued.
-- 2. Reschedules, cancels or discards the jobs of other nodes without a live lease, as `rules.transition` does for
--    `Lost`, and deletes those nodes when none of their jobs is left. Only if `rescues` is true.
-- 3. Cancels waiting jobs that have expired, as `rules.transition` does for `Expired`: at most `most_expired`, those
--    that expired first. Only if `rescues` is true.
-- 4. Deletes at most 1,000 scopes that have not been taken for a day. Until then, a transaction with an older snapshot
--    must find that its scope has changed.
-- 5. Notifies those who wait for the end of jobs, if a job has ended in step 2 or 3.
-- Returns one row for each job that the node runs and that is to be cancelled, or one row without a job. Each row also
-- says whether the lease began, how many jobs were rescued, and how many had expired.
-- Rows of waiting jobs, lost jobs and scopes that others have locked are left to the next heartbeat; also rows of
-- `stored_jobs`, which somebody may be changing by hand. Of each job, the row of `queue` or `running` is locked first.
-- Indexes: queue_expiring, scopes_taken, the primary key of stored_jobs; `running` is small and read whole.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
renewed AS (
    INSERT INTO "rexecutor".nodes AS node (id, name, started_at, lease_until, epoch, renewed_at, state, executors)
    SELECT
        %(node)s, %(name)s, clock.now,
        -- The lease is added in UTC. In other time zones a day may have 23 or 25 hours.
        (clock.now AT TIME ZONE 'UTC' + %(lease)s::interval) AT TIME ZONE 'UTC',
        %(epoch)s, clock.now, %(state)s::json, %(executors)s::json
    FROM clock
    ON CONFLICT (id) DO UPDATE SET
        lease_until = excluded.lease_until,
        epoch = greatest(node.epoch, excluded.epoch),
        renewed_at = excluded.renewed_at,
        state = excluded.state,
        -- NULL if the node has told them before.
        executors = coalesce(excluded.executors, node.executors)
    RETURNING node.xmax = 0 AS has_begun
),
lost AS (
    SELECT run.id, run.claims FROM "rexecutor".running AS run, clock
    WHERE %(rescues)s AND run.node <> %(node)s AND NOT EXISTS (
        SELECT FROM "rexecutor".nodes AS node WHERE node.id = run.node AND node.lease_until > clock.now
    )
    ORDER BY run.id
),
-- A row that is locked here is read as others have committed it since the heartbeat began, for example with a cancel. A
-- job that was claimed again since then is left alone. Only its `claims` show that: `nodes` is read as it was when the
-- heartbeat began, so the lease of its new node may be missing there.
orphans AS MATERIALIZED (
    SELECT run.* FROM lost CROSS JOIN LATERAL (
        SELECT held.id, held.claims FROM "rexecutor".running AS held
        WHERE held.id = lost.id AND held.claims = lost.claims
        FOR UPDATE SKIP LOCKED
    ) AS run LEFT JOIN LATERAL (
        SELECT stored.id FROM "rexecutor".stored_jobs AS stored WHERE stored.id = run.id FOR UPDATE SKIP LOCKED
    ) AS job ON true
    -- Or somebody has deleted the job by hand.
    WHERE job.id IS NOT NULL OR (SELECT stored.id FROM "rexecutor".stored_jobs AS stored WHERE stored.id = run.id) IS NULL
),
taken AS (
    DELETE FROM "rexecutor".running AS run USING orphans
    WHERE run.id = ANY(ARRAY[orphans.id])  -- as in `settle_complete`
    RETURNING run.*
),
rescued AS (
    -- What depends on `max_attempts` and `losses` is decided here, where the job's row is the newest.
    UPDATE "rexecutor".stored_jobs AS job SET
        status = CASE
            WHEN taken.cancel_reason IS NOT NULL THEN 'cancelled'
            WHEN taken.attempt >= job.max_attempts OR job.losses >= %(most_losses)s - 1 THEN 'discarded'
            ELSE 'retryable'
        END,
        attempt = greatest(taken.attempt, 0),  -- as in `settle_complete`
        claims = greatest(taken.claims, job.claims),
        attempted_at = taken.attempted_at,
        losses = least(job.losses, 2147483646) + 1,
        revision = least(job.revision, 9223372036854775806) + 1,
        scheduled_at = CASE
            WHEN taken.cancel_reason IS NOT NULL OR taken.attempt >= job.max_attempts
                OR job.losses >= %(most_losses)s - 1 THEN job.scheduled_at
            WHEN job.losses >= 1 THEN clock.now + make_interval(secs => mod(abs(job.id), 100) / 10.0)
            ELSE least(job.scheduled_at, clock.now)
        END,
        errors = "rexecutor".latest(
            job.errors
            || jsonb_set(
                "rexecutor".error(taken.attempt, 'lost', 'NodeLost', %(lost)s::text, clock.now),
                '{0,node}', to_jsonb(taken.node)
            )
            || CASE WHEN taken.cancel_reason IS NOT NULL THEN "rexecutor".error(
                taken.attempt, 'cancelled', 'Cancel', taken.cancel_reason, clock.now
            ) ELSE '[]'::jsonb END,
            %(most_errors)s
        ),
        completed_at = NULL,
        cancelled_at = CASE WHEN taken.cancel_reason IS NOT NULL THEN clock.now END,
        discarded_at = CASE
            WHEN taken.cancel_reason IS NULL
                AND (taken.attempt >= job.max_attempts OR job.losses >= %(most_losses)s - 1) THEN clock.now
        END
    FROM taken, clock
    WHERE job.id = ANY(ARRAY[taken.id])
    RETURNING job.id, job.status, job.priority, job.scheduled_at, taken.executor, taken.flow, taken.lane, clock.now
),
-- Rows are found by ctid, so a job that was claimed, cancelled or changed since the heartbeat began is not found, and
-- is left alone.
dequeued AS (
    DELETE FROM "rexecutor".queue WHERE ctid = ANY(ARRAY(
        SELECT expiring.ctid FROM (
            SELECT waiting.ctid, waiting.id FROM "rexecutor".queue AS waiting
            WHERE %(rescues)s AND waiting.expires_at IS NOT NULL
                AND waiting.expires_at <= (SELECT clock.now FROM clock)
            ORDER BY waiting.expires_at
            LIMIT %(most_expired)s
            FOR UPDATE SKIP LOCKED
        ) AS expiring LEFT JOIN LATERAL (
            SELECT stored.id FROM "rexecutor".stored_jobs AS stored WHERE stored.id = expiring.id FOR UPDATE SKIP LOCKED
        ) AS job ON true
        WHERE job.id IS NOT NULL
            OR (SELECT stored.id FROM "rexecutor".stored_jobs AS stored WHERE stored.id = expiring.id) IS NULL
    ))
    RETURNING id, executor
),
expired AS (
    UPDATE "rexecutor".stored_jobs AS job SET
        status = 'cancelled',
        errors = "rexecutor".latest(
            job.errors || "rexecutor".error(job.attempt, 'expired', 'Expired', %(expired)s::text, clock.now),
            %(most_errors)s
        ),
        cancelled_at = clock.now
    FROM dequeued, clock
    -- A job in the queue may have ended if somebody has changed it by hand.
    WHERE job.id = ANY(ARRAY[dequeued.id]) AND coalesce(job.completed_at, job.cancelled_at, job.discarded_at) IS NULL
    RETURNING job.id, job.status, dequeued.executor, clock.now
),
waiting AS (
    INSERT INTO "rexecutor".queue (id, executor, scheduled_at, priority, due, flow, lane)
    SELECT id, executor, scheduled_at, priority, scheduled_at <= now, flow, lane FROM rescued WHERE status = 'retryable'
    ON CONFLICT (id) DO NOTHING  -- somebody may have put it there by hand
),
logged AS (
    INSERT INTO "rexecutor".ended (executor, status, ended_at, ids)
    SELECT executor, status, now, array_agg(id ORDER BY id) FROM (
        SELECT id, executor, status, now FROM rescued WHERE status <> 'retryable'
        UNION ALL SELECT id, executor, status, now FROM expired
    ) AS ends
    GROUP BY executor, status, now
),
-- Rows are found by ctid, so a node whose lease was renewed since the heartbeat began is not found, and stays.
forgotten AS (
    DELETE FROM "rexecutor".nodes WHERE ctid = ANY(ARRAY(
        SELECT node.ctid FROM "rexecutor".nodes AS node, clock
        WHERE %(rescues)s AND node.lease_until <= clock.now AND node.id <> %(node)s AND NOT EXISTS (
            SELECT FROM "rexecutor".running AS run
            WHERE run.node = node.id AND run.id NOT IN (SELECT orphans.id FROM orphans)
        )
        FOR UPDATE OF node SKIP LOCKED
    ))
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
        SELECT FROM expired UNION ALL SELECT FROM rescued WHERE rescued.status <> 'retryable' LIMIT 1
    ) AS ends)
FROM renewed LEFT JOIN "rexecutor".running AS asked ON asked.node = %(node)s AND asked.cancel_reason IS NOT NULL
