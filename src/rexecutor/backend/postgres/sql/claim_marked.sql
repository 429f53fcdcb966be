-- Takes due jobs as `claim_jobs` does, but of each executor only those that stand at its mark or after it, and those that
-- are more urgent than the mark. For times at which the index holds very many entries of deleted rows before the mark.
-- Index: queue_due, two short scans for each executor.
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
        SELECT heads.ctid FROM unnest(
            %(executors)s::text[], %(slots)s::integer[], %(priorities)s::integer[], %(moments)s::timestamptz[],
            %(ids)s::bigint[]
        ) AS demand (executor, slots, priority, moment, id)
        CROSS JOIN LATERAL (
            SELECT head.* FROM (VALUES
                (-2147483648, '-infinity'::timestamptz, -9223372036854775808, demand.priority::bigint),
                (demand.priority, demand.moment, demand.id, 2147483648)
            ) AS span (priority, moment, id, below)
            CROSS JOIN LATERAL (
                SELECT head.ctid, head.priority, head.scheduled_at, head.id FROM "rexecutor".queue AS head
                WHERE head.due AND head.flow IS NULL AND head.executor = demand.executor
                    AND head.scheduled_at <= (SELECT clock.now FROM clock)
                    AND (head.priority, head.scheduled_at, head.id) >= (span.priority, span.moment, span.id)
                    AND head.priority < span.below
                ORDER BY head.priority, head.scheduled_at, head.id
                LIMIT demand.slots
                FOR UPDATE SKIP LOCKED
            ) AS head
            ORDER BY head.priority, head.scheduled_at, head.id
            LIMIT demand.slots
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
