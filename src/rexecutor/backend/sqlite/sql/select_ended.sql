-- Returns a page of an executor's jobs that ended in a status before a moment, the longest ended first.
-- Index: rexecutor_jobs_ended, which covers the query; no sort.
SELECT ended_at, id FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_ended
WHERE status = :status AND executor = :executor AND ended_at IS NOT NULL AND ended_at < :before
    AND (ended_at, id) > (:ended_at, :id)
ORDER BY ended_at, id
LIMIT :limit
