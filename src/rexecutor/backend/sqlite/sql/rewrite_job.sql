-- Writes back the fields that an update or a replacing enqueue has changed, of a row read in the same transaction.
-- The promoter marks it as due again where it waits.
UPDATE rexecutor_jobs SET
    due = 0,
    data = :data,
    metadata = :metadata,
    max_attempts = :max_attempts,
    priority = :priority,
    tags = :tags,
    scheduled_at = :scheduled_at,
    revision = :revision
WHERE id = :id
