-- Puts new jobs into the queue: those with the ids from `first` to `last`.
INSERT INTO rexecutor_queue (id, executor, scheduled_at, priority, due, expires_at, flow, lane)
SELECT id, executor, scheduled_at, priority, scheduled_at <= :now, expires_at, flow, lane
FROM rexecutor_stored_jobs
WHERE id BETWEEN :first AND :last
