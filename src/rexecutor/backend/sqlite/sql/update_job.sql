-- Writes back what `rules.transition` made of a row that was read in the same transaction.
-- Only a job that has just been completed has a result: rows to change are read without theirs.
-- Promotion marks the job as due again if its time has come.
UPDATE rexecutor_jobs SET
    due = 0,
    status = :status,
    attempt = :attempt,
    max_attempts = :max_attempts,
    errors = :errors,
    snoozes = :snoozes,
    losses = :losses,
    node = :node,
    cancel_reason = :cancel_reason,
    scheduled_at = :scheduled_at,
    completed_at = :completed_at,
    cancelled_at = :cancelled_at,
    discarded_at = :discarded_at,
    expires_at = :expires_at,
    result = :result,
    revision = :revision
WHERE id = :id
