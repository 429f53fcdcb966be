-- Stores a new job that never expires. Ids are consecutive within a transaction: there is one writer, and AUTOINCREMENT leaves no gap.
INSERT INTO rexecutor_stored_jobs (
    executor, status, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key
)
VALUES (?, 'scheduled', ?, ?, ?, ?, ?, ?, ?, ?)
