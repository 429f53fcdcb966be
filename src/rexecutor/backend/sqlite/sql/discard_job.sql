-- Discards a job whose row cannot be written back, because it holds values that rexecutor never writes.
UPDATE rexecutor_stored_jobs SET
    status = 'discarded',
    attempt = 1,
    max_attempts = 1,
    errors = :errors,
    claims = max(claims, :claims, 0),
    snoozes = 0,
    losses = 0,
    discarded_at = :now,
    revision = 0,
    expires_at = NULL,
    result = NULL
WHERE id = :id
