-- Stores a new job that never expires. `queue_jobs` then puts it into the queue. The ids of a batch are consecutive,
-- because there is one writer and AUTOINCREMENT leaves no gap within a transaction.
INSERT INTO rexecutor_stored_jobs (
    executor, status, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key
)
VALUES (?, 'scheduled', ?, ?, ?, ?, ?, ?, ?, ?)
