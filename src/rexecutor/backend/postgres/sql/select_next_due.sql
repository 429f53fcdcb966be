-- Answers when the next job falls due. Index: jobs_later.
SELECT min(scheduled_at) FROM "rexecutor".jobs
WHERE NOT due AND status NOT IN ('executing', 'complete', 'cancelled', 'discarded')
