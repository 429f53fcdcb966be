-- Returns the requests to cancel jobs that a node runs. Reads all executing jobs, which are few.
SELECT id, claims, cancel_reason FROM rexecutor_running WHERE node = :node AND cancel_reason IS NOT NULL
