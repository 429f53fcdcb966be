-- Returns when the next future job is due. Index: rexecutor_jobs_later.
SELECT min(scheduled_at) FROM rexecutor_jobs WHERE due = 0 AND status IN ('scheduled', 'retryable')
