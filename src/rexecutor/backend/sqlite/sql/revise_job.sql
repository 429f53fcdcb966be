-- Counts a change of a job that still executes: a request to cancel it. Its row in `rexecutor_running` holds the
-- reason: see `ask_cancel`.
UPDATE rexecutor_stored_jobs SET revision = :revision WHERE id = :id
