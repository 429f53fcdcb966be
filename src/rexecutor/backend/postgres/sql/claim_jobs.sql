-- Takes due jobs for a node with a live lease, in claim order, for all executors in one statement. Never early, never
-- more than asked. Index: jobs_due, one short scan an executor. A row that changed between this statement's snapshot and
-- its lock has another ctid, which finds nothing: like a row that is locked, it is left to the next claim.
-- Where jobs whose time has come are not marked as due yet, it takes none and says so, unless they were `promoted` just
-- now. Answers a row at least: in how long the next job falls due, and whether that is past; the job in those after it.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
later AS MATERIALIZED (
    SELECT
        -- Somebody may have put a moment there that nobody can count to.
        CASE WHEN next.due_at IS NOT NULL THEN least(next.due_at, '9999-01-01') END - clock.now AS due_in,
        NOT %(promoted)s::boolean AND coalesce(next.due_at <= clock.now, false) AS is_past
    FROM clock, (
        SELECT min(scheduled_at) AS due_at FROM "rexecutor".jobs
        WHERE NOT due AND status NOT IN ('executing', 'complete', 'cancelled', 'discarded')
    ) AS next
),
alive AS MATERIALIZED (
    SELECT nodes.id FROM "rexecutor".nodes, clock, later
    WHERE nodes.id = %(node)s AND nodes.lease_until > clock.now AND NOT later.is_past
        AND nodes.epoch <= %(epoch)s
    FOR KEY SHARE OF nodes  -- so that a claim is given up before it or after it, never meanwhile
),
claimed AS (
    UPDATE "rexecutor".jobs SET
        status = 'executing',
        due = false,
        -- No number that somebody has spoilt stops the claim of all others.
        attempt = greatest(least(attempt, 2147483646), 0) + 1,
        claims = greatest(least(claims, 9223372036854775806), 0) + 1,
        node = %(node)s,
        attempted_at = (SELECT clock.now FROM clock)
    WHERE ctid = ANY(ARRAY(
        SELECT heads.ctid FROM unnest(%(executors)s::text[], %(slots)s::integer[]) AS demand (executor, slots)
        CROSS JOIN LATERAL (
            SELECT head.ctid, head.priority, head.scheduled_at, head.id FROM "rexecutor".jobs AS head
            WHERE head.due AND head.executor = demand.executor AND head.scheduled_at <= (SELECT clock.now FROM clock)
            ORDER BY head.priority, head.scheduled_at, head.id
            LIMIT demand.slots
            FOR UPDATE SKIP LOCKED
        ) AS heads
        WHERE EXISTS (SELECT FROM alive)
        ORDER BY heads.priority, heads.scheduled_at, heads.id
        LIMIT %(most)s
    ))
    RETURNING
        id, executor, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
        unique_key, revision, inserted_at, scheduled_at, attempted_at
)
SELECT
    later.due_in, later.is_past, id, executor, data::text, metadata::text, attempt, max_attempts, priority, tags, errors::text, claims, snoozes,
    losses, unique_key, revision, inserted_at, scheduled_at, attempted_at
FROM later LEFT JOIN claimed ON true
ORDER BY priority, scheduled_at, id
