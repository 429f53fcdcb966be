-- Writes back what `rules.transition` made of a row that was read in the same transaction. Not for a job that still
-- executes. Only a job that has just been completed has a result, because rows to change are read without theirs.
UPDATE rexecutor_stored_jobs SET
    status = :status,
    attempt = :attempt,
    max_attempts = :max_attempts,
    errors = :errors,
    claims = :claims,
    snoozes = :snoozes,
    losses = :losses,
    scheduled_at = :scheduled_at,
    attempted_at = :attempted_at,
    completed_at = :completed_at,
    cancelled_at = :cancelled_at,
    discarded_at = :discarded_at,
    expires_at = :expires_at,
    result = :result,
    revision = :revision
WHERE id = :id
