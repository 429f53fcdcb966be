-- Counts an executor's jobs that ended in a status. Index: rexecutor_jobs_ended.
SELECT count(*) FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_ended
WHERE status = :status AND executor = :executor AND ended_at IS NOT NULL
