-- What `execute` returned, as JSON text.
ALTER TABLE rexecutor_jobs ADD COLUMN result TEXT;

-- A job that has not started by then is cancelled; NULL for never.
ALTER TABLE rexecutor_jobs ADD COLUMN expires_at INTEGER;

-- The heartbeat, which cancels expired jobs: only those that wait and have not started.
CREATE INDEX rexecutor_jobs_expiring ON rexecutor_jobs (expires_at)
WHERE expires_at IS NOT NULL AND attempt = 0 AND snoozes = 0 AND status IN ('scheduled', 'retryable');
