-- Deletes the rows of `rexecutor_running` whose jobs somebody has deleted by hand. Reads the whole table, which is
-- small.
DELETE FROM rexecutor_running WHERE NOT EXISTS (
    SELECT 1 FROM rexecutor_stored_jobs AS job WHERE job.id = rexecutor_running.id
)
