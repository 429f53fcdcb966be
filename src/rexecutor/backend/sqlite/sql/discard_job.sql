-- Discards a job whose row cannot be written back, because it holds values that rexecutor never writes.
UPDATE rexecutor_jobs SET
    due = 0,
    status = 'discarded',
    attempt = 1,
    max_attempts = 1,
    errors = :errors,
    snoozes = 0,
    losses = 0,
    node = NULL,
    cancel_reason = NULL,
    discarded_at = :now,
    revision = 0,
    expires_at = NULL,
    result = NULL
WHERE id = :id
