-- Takes due jobs as `claim_jobs` does, but of each executor only those at its mark or after it, and those of a more
-- urgent priority than the mark. It is used while the index holds very many entries of deleted rows before the mark.
-- Index: queue_due, two short scans for each executor, and the primary key of stored_jobs.
-- include claim_before
picked AS (
    DELETE FROM "rexecutor".queue WHERE ctid = ANY(ARRAY(
        SELECT heads.ctid FROM unnest(
            %(executors)s::text::text[], %(slots)s::text::integer[], %(priorities)s::integer[], %(moments)s::timestamptz[],
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
-- include claim_after
