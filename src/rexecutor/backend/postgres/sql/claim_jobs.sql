-- Takes due jobs for a node with a live lease, in claim order, for all executors in one statement. Never early, never
-- more than asked. Index: queue_due, one short scan for each executor, and the primary key of stored_jobs. A row of `queue`
-- that changed between this statement's snapshot and its lock has another ctid, so it is not found: like a locked row, it
-- is left to the next claim. Who changes a waiting job writes that row anew, so what is read of the job is not stale.
-- If jobs whose time has come are not marked as due yet, it takes none and returns `is_past`, unless jobs were
-- `promoted` just before. Returns at least one row. The first two columns say in how long the next job falls due and
-- whether that is past; the other columns hold a claimed job, or NULL if there is none.
-- include claim_before
picked AS (
    DELETE FROM "rexecutor".queue WHERE ctid = ANY(ARRAY(
        SELECT heads.ctid FROM unnest(%(executors)s::text::text[], %(slots)s::text::integer[]) AS demand (executor, slots)
        CROSS JOIN LATERAL (
            SELECT head.ctid, head.priority, head.scheduled_at, head.id FROM "rexecutor".queue AS head
            WHERE head.due AND head.flow IS NULL AND head.executor = demand.executor
                AND head.scheduled_at <= (SELECT clock.now FROM clock)
            ORDER BY head.priority, head.scheduled_at, head.id
            LIMIT demand.slots
            FOR UPDATE SKIP LOCKED
        ) AS heads
-- include claim_after
