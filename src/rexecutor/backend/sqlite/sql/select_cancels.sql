-- Returns the requests to cancel jobs that a node runs. Index: rexecutor_jobs_running.
SELECT id, claims, cancel_reason FROM rexecutor_jobs
WHERE status = 'executing' AND node = :node AND cancel_reason IS NOT NULL
