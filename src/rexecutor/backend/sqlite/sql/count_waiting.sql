-- Returns how many jobs of an executor wait, how many of these are due, and when the first due one fell due. Counts at most
-- `most`, those that are due first. Reads these entries of the index and those of executing jobs, which are few. Index:
-- rexecutor_jobs_open. A moment that Python cannot read, which somebody has written by hand, is replaced by the nearest
-- that it can.
SELECT
    count(*),
    count(*) FILTER (WHERE scheduled_at <= :now),
    max(min(scheduled_at) FILTER (WHERE scheduled_at <= :now), -62135510400000000)
FROM (
    SELECT scheduled_at FROM rexecutor_stored_jobs INDEXED BY rexecutor_jobs_open
    WHERE ended_at IS NULL AND executor = :executor AND id NOT IN (SELECT id FROM rexecutor_running)
    ORDER BY scheduled_at
    LIMIT :most
)
