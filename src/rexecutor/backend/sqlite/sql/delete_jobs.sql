-- Deletes the jobs with these ids. The caller chose them in the same transaction.
DELETE FROM rexecutor_jobs WHERE id IN (SELECT value FROM json_each(:ids))
