-- Returns the ids of a page of jobs, in their order; the condition comes from `compile_where`. Indexes: those of `select_jobs`.
SELECT id
FROM "rexecutor".jobs
WHERE id > %(after)s AND /* where */
ORDER BY id
LIMIT %(limit)s
