-- Marks jobs whose time has come as due, the earliest first. Index: rexecutor_queue_later.
UPDATE rexecutor_queue SET due = 1
WHERE id IN (
    SELECT id FROM rexecutor_queue WHERE due = 0 AND scheduled_at <= :now
    ORDER BY scheduled_at
    LIMIT :limit
)
