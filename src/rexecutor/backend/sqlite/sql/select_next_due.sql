-- Answers when the next job falls due. Index: rexecutor_jobs_later.
SELECT min(scheduled_at) FROM rexecutor_jobs WHERE due = 0 AND status IN ('scheduled', 'retryable')
