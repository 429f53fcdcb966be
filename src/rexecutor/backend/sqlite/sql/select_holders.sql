-- Returns which nodes execute how many jobs of which executors, and of each the job that was claimed first. (With one
-- min(), the other columns are those of the row with the minimum.) Reads all executing jobs, which are few.
SELECT executor, node, count(*), min(min(max(attempted_at, -62135510400000000), 253402128000000000)), id
FROM rexecutor_running
WHERE :executor IS NULL OR executor = :executor
GROUP BY executor, node
