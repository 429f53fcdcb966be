-- Deletes the jobs of these ids that still ended at the moment they were found with: a rerun job stays.
DELETE FROM rexecutor_stored_jobs WHERE id IN (
    SELECT job.id FROM json_each(:doomed) AS doomed CROSS JOIN rexecutor_stored_jobs AS job
    WHERE job.id = json_extract(doomed.value, '$[1]')
        AND job.ended_at = json_extract(doomed.value, '$[0]')
        AND job.status = :status
)
