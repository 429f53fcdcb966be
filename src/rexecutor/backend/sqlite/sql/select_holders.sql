-- Returns which nodes execute how many jobs of which executors, of each the job that was claimed first, and how many of
-- these jobs are due and not due. (With one min(), the other columns are those of the row with the minimum.) Reads all executing jobs,
-- which are few.
SELECT
    run.executor, run.node, count(*), min(min(max(run.attempted_at, -62135510400000000), 253402128000000000)), run.id,
    sum(job.scheduled_at <= :now), sum(job.scheduled_at > :now)
FROM rexecutor_running AS run CROSS JOIN rexecutor_stored_jobs AS job
WHERE job.id = run.id AND (:executor IS NULL OR run.executor = :executor)
GROUP BY run.executor, run.node
