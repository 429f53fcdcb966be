-- Writes back a record that `rules` changed; its row was read and locked in the same transaction.
UPDATE "rexecutor".jobs SET
    due = false,
    status = %(status)s,
    data = %(data)s::json,
    metadata = %(metadata)s::json,
    attempt = %(attempt)s,
    max_attempts = %(max_attempts)s,
    priority = %(priority)s,
    tags = %(tags)s,
    errors = %(errors)s::jsonb,
    snoozes = %(snoozes)s,
    losses = %(losses)s,
    node = %(node)s,
    cancel_reason = %(cancel_reason)s,
    revision = %(revision)s,
    scheduled_at = %(scheduled_at)s,
    completed_at = %(completed_at)s,
    cancelled_at = %(cancelled_at)s,
    discarded_at = %(discarded_at)s,
    expires_at = %(expires_at)s,
    -- The record was read without its result.
    result = CASE WHEN %(status)s = 'complete' THEN result END
WHERE id = %(id)s
