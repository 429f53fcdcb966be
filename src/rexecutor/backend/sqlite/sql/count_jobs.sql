-- Counts all jobs; reads the whole table.
SELECT executor, status, count(*) FROM rexecutor_jobs GROUP BY executor, status ORDER BY executor, status
