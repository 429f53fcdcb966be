-- Returns the statuses of jobs: which of them have ended, without reading the data of those that have not.
-- The condition comes from `compile_where`, and is on the id alone.
-- Expressions instead of columns: an application's connection may convert columns by their declared types.
SELECT +id, +status FROM rexecutor_jobs WHERE /* where */
