-- Deletes the runs of jobs that somebody has deleted by hand.
DELETE FROM rexecutor_running WHERE NOT EXISTS (
    SELECT 1 FROM rexecutor_stored_jobs AS job WHERE job.id = rexecutor_running.id
)
