-- Stores a new job that may expire or have headers, as `insert_job` does. It is a statement of its own because a column
-- makes an insert slower by a twentieth, and few jobs expire.
INSERT INTO rexecutor_stored_jobs (
    executor, status, data, metadata, max_attempts, priority, tags, inserted_at, scheduled_at, unique_key, expires_at,
    headers
)
VALUES (?, 'scheduled', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
