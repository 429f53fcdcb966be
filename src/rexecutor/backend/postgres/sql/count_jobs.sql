-- Counts jobs; the condition comes from `compile_where`. For all jobs it reads the whole table, for those of one
-- executor the rows of that executor: an index on `executor`.
SELECT executor COLLATE "C", status, count(*)
FROM "rexecutor".jobs
WHERE /* where */
GROUP BY 1, 2 ORDER BY 1, 2
