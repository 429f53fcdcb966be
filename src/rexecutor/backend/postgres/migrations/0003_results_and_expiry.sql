-- What `execute` returned. As `json` it keeps its text; what is large is kept apart from the row, and no claim reads it.
ALTER TABLE "rexecutor".jobs ADD COLUMN result json;
-- A job that has not started by then is cancelled; NULL for never.
ALTER TABLE "rexecutor".jobs ADD COLUMN expires_at timestamptz;
-- What Python can read. NOT VALID: no row has a value yet, so none is read while the table is locked.
ALTER TABLE "rexecutor".jobs ADD CONSTRAINT jobs_expires_at_check CHECK (
    expires_at >= timestamptz '0001-01-01 00:00:00+00' AND expires_at < timestamptz '10000-01-01 00:00:00+00'
) NOT VALID;
-- The heartbeat, which cancels expired jobs: only those that wait and have not started.
CREATE INDEX jobs_expiring ON "rexecutor".jobs (expires_at)
WHERE expires_at IS NOT NULL AND attempt = 0 AND snoozes = 0
    AND status NOT IN ('executing', 'complete', 'cancelled', 'discarded');
