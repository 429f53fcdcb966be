-- Returns the ids of a page of jobs, the newest first; the condition comes from `compile_where`. Indexes: those of `select_newest_jobs`.
SELECT +id
FROM rexecutor_jobs
WHERE id < :after AND /* where */
ORDER BY id DESC
LIMIT :limit
