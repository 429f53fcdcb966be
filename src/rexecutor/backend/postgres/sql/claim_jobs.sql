-- Takes due jobs for a node with a live lease, in claim order, for all executors in one statement. Never early, never
-- more than asked. Index: queue_due, one short scan for each executor, and the primary key of stored_jobs. A row of `queue`
-- that changed between this statement's snapshot and its lock has another ctid, so it is not found: like a locked row, it
-- is left to the next claim. Who changes a waiting job writes that row anew, so what is read of the job is not stale.
-- If jobs whose time has come are not marked as due yet, it takes none and returns `is_past`, unless jobs were
-- `promoted` just before. Returns at least one row. The first two columns say in how long the next job falls due and
-- whether that is past; the other columns hold a claimed job, or NULL if there is none.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
later AS MATERIALIZED (
    SELECT
        -- Clamped: a moment that someone has written by hand may be too far away to subtract from.
        CASE WHEN next.due_at IS NOT NULL THEN least(next.due_at, '9999-01-01') END - clock.now AS due_in,
        NOT %(promoted)s::boolean AND coalesce(next.due_at <= clock.now, false) AS is_past
    FROM clock, (SELECT min(scheduled_at) AS due_at FROM "rexecutor".queue WHERE NOT due) AS next
),
alive AS MATERIALIZED (
    SELECT nodes.id FROM "rexecutor".nodes, clock, later
    WHERE nodes.id = %(node)s AND nodes.lease_until > clock.now AND NOT later.is_past
        AND nodes.epoch <= %(epoch)s
    FOR KEY SHARE OF nodes  -- so that `release_claims` runs before or after this claim, never during it
),
picked AS (
    DELETE FROM "rexecutor".queue WHERE ctid = ANY(ARRAY(
        SELECT heads.ctid FROM unnest(%(executors)s::text[], %(slots)s::integer[]) AS demand (executor, slots)
        CROSS JOIN LATERAL (
            SELECT head.ctid, head.priority, head.scheduled_at, head.id FROM "rexecutor".queue AS head
            WHERE head.due AND head.flow IS NULL AND head.executor = demand.executor
                AND head.scheduled_at <= (SELECT clock.now FROM clock)
            ORDER BY head.priority, head.scheduled_at, head.id
            LIMIT demand.slots
            FOR UPDATE SKIP LOCKED
        ) AS heads
        WHERE EXISTS (SELECT FROM alive)
        ORDER BY heads.priority, heads.scheduled_at, heads.id
        LIMIT %(limit)s
    ))
    RETURNING id, executor
),
claimed AS MATERIALIZED (
    SELECT
        job.id, picked.executor, data, metadata,
        -- Clamped, so that a number that someone has corrupted by hand does not stop the claim of all others.
        greatest(least(attempt, 2147483646), 0) + 1 AS attempt,
        max_attempts, priority, tags, errors,
        greatest(least(claims, 9223372036854775806), 0) + 1 AS claims,
        snoozes, losses, unique_key, revision, inserted_at, scheduled_at,
        (SELECT clock.now FROM clock) AS attempted_at, expires_at
    FROM picked JOIN "rexecutor".stored_jobs AS job ON job.id = ANY(ARRAY[picked.id])  -- as in `settle_complete`
),
started AS (
    INSERT INTO "rexecutor".running (id, claims, attempted_at, attempt, node, executor)
    SELECT id, claims, attempted_at, attempt, %(node)s, executor FROM claimed
)
SELECT
    later.due_in, later.is_past, id, executor, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims, snoozes,
    losses, unique_key, revision, inserted_at, scheduled_at, attempted_at, expires_at
FROM later LEFT JOIN claimed ON true
ORDER BY priority, scheduled_at, id
