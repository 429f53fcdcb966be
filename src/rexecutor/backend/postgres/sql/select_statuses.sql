-- Returns the statuses of jobs: which of them have ended, without reading the data of those that have not.
-- Index: the primary key; the condition comes from `compile_where`, and is on the id alone.
SELECT id, status FROM "rexecutor".jobs WHERE /* where */
