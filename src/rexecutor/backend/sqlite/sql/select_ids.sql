-- Returns the ids of a page of jobs, in their order; the condition comes from `compile_where`. Indexes: those of `select_jobs`.
SELECT +id
FROM rexecutor_jobs
WHERE id > :after AND /* where */
ORDER BY id
LIMIT :limit
