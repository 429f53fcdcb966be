-- Returns jobs that `start_jobs` has just started. The caller knows their other columns: see `read_claimed`.
SELECT
    job.id, data, metadata, run.attempt, max_attempts, tags, errors, run.claims, snoozes, losses, unique_key, revision,
    inserted_at, expires_at, headers
FROM rexecutor_running AS run CROSS JOIN rexecutor_stored_jobs AS job
WHERE run.id IN (SELECT value FROM json_each(:ids)) AND job.id = run.id
