-- Returns the first `slots` of one executor's due jobs, in claim order, and none before its time. Index:
-- rexecutor_queue_due, no sort.
SELECT priority, scheduled_at, id, executor FROM rexecutor_queue INDEXED BY rexecutor_queue_due
WHERE executor = :executor AND due = 1 AND flow IS NULL AND scheduled_at <= :now
ORDER BY priority, scheduled_at, id
LIMIT :slots
