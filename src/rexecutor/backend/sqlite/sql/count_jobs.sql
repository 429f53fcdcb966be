-- Counts jobs; the condition comes from `compile_where`. For all jobs it reads the whole table, for those of one
-- executor the rows of that executor: an index on `executor`.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT +executor, +status, count(*)
FROM rexecutor_jobs
WHERE /* where */
GROUP BY executor, status ORDER BY executor, status
