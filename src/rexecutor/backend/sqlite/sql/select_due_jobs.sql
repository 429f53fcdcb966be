-- Returns the first of one executor's due jobs, in claim order, never early. Index: rexecutor_jobs_due, no sort.
SELECT priority, scheduled_at, id, executor FROM rexecutor_jobs INDEXED BY rexecutor_jobs_due
WHERE executor = :executor AND due = 1 AND scheduled_at <= :now
ORDER BY priority, scheduled_at, id
LIMIT :slots
