-- Marks jobs whose time has come as due: at most `limit`, the earliest first. Index: queue_later. A row that changed
-- between this statement's snapshot and its lock has another ctid, so it is not found. Like a locked row, it is left to
-- the next claim.
UPDATE "rexecutor".queue SET due = true
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".queue
    WHERE NOT due AND scheduled_at <= coalesce(%(now)s::timestamptz, now())
    ORDER BY scheduled_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
