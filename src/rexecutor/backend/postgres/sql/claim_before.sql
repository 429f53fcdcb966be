-- The beginning of a claim: its time, when the next job falls due, and whether the node has a live lease.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
),
later AS MATERIALIZED (
    SELECT
        -- In seconds, because the driver takes long to read an interval. Clamped, because a moment that someone has
        -- written by hand may be too far away to subtract from.
        extract(
            epoch FROM CASE
                WHEN next.due_at IS NOT NULL THEN greatest(least(next.due_at, '9999-01-01'), '0001-01-01')
            END - clock.now
        )::double precision AS due_in,
        NOT %(promoted)s::boolean AND coalesce(next.due_at <= clock.now, false) AS is_past
    FROM clock, (SELECT min(scheduled_at) AS due_at FROM "rexecutor".queue WHERE NOT due) AS next
),
alive AS MATERIALIZED (
    SELECT nodes.id FROM "rexecutor".nodes, clock, later
    WHERE nodes.id = %(node)s AND nodes.lease_until > clock.now AND NOT later.is_past
        AND nodes.epoch <= %(epoch)s
    -- So that `release_claims` runs before or after this claim, never during it.
    FOR KEY SHARE OF nodes
),
