-- Takes due jobs for a node with a live lease, in claim order, for all executors in one statement. It takes no job
-- before its time, at most as many of each executor as its `slots`, and at most `limit` in all. It takes no job of a
-- paused executor. Indexes: queue_due, one short scan for each executor, and the primary key of stored_jobs.
-- A row of `queue` that changed between this statement's snapshot and its lock has another ctid, so it is not found.
-- Like a locked row, it is left to the next claim. Every change of a waiting job writes that row anew, so what this
-- statement reads of the job is not stale.
-- If there are jobs whose time has come and that are not marked as due yet, it takes no job and returns `is_past`,
-- unless `promoted` is set: jobs were marked just before. Returns at least one row. The first two columns say in how
-- many seconds the next job falls due, and whether that is past. The other columns hold a claimed job, or NULL if there
-- is none.
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
