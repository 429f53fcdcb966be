-- Answers the cancels asked for jobs that a node runs. Index: jobs_running.
SELECT id, claims, cancel_reason FROM "rexecutor".jobs
WHERE status = 'executing' AND node = %(node)s AND cancel_reason IS NOT NULL
ORDER BY id
