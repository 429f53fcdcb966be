-- Writes back the fields that an update or a replacing enqueue has changed. The row was read in the same transaction.
UPDATE rexecutor_stored_jobs SET
    data = :data,
    metadata = :metadata,
    max_attempts = :max_attempts,
    priority = :priority,
    tags = :tags,
    scheduled_at = :scheduled_at,
    expires_at = :expires_at,
    revision = :revision
WHERE id = :id
