-- Counts a change of a job that still executes: a request to cancel it. The row of its run holds the reason.
UPDATE rexecutor_stored_jobs SET revision = :revision WHERE id = :id
