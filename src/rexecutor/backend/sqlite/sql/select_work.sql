-- Returns whether any job is marked as due, and when the next of the others is due.
-- Indexes: rexecutor_jobs_due, rexecutor_jobs_later.
SELECT
    EXISTS (SELECT 1 FROM rexecutor_jobs WHERE due = 1),
    (SELECT min(scheduled_at) FROM rexecutor_jobs WHERE due = 0 AND status IN ('scheduled', 'retryable'))
