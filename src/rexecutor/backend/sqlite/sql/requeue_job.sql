-- Puts a job that waits into the queue as it is now, in place of its row there if it has one. A job that has started
-- before does not expire.
INSERT OR REPLACE INTO rexecutor_queue (id, executor, scheduled_at, priority, due, expires_at, flow, lane)
SELECT
    id, executor, scheduled_at, priority, scheduled_at <= :now, CASE WHEN attempt = 0 AND snoozes = 0 THEN expires_at END,
    flow, lane
FROM rexecutor_stored_jobs
WHERE id = :id
