-- Deletes those of the found jobs that still have this status and the moment of their end with which they were found.
-- So a job that was rerun meanwhile stays. `doomed` is a list of pairs: moment and id.
DELETE FROM rexecutor_stored_jobs WHERE id IN (
    SELECT job.id FROM json_each(:doomed) AS doomed CROSS JOIN rexecutor_stored_jobs AS job
    WHERE job.id = json_extract(doomed.value, '$[1]')
        AND job.ended_at = json_extract(doomed.value, '$[0]')
        AND job.status = :status
)
