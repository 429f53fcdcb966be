-- Returns when the newest job was enqueued. Index: the primary key.
SELECT +inserted_at FROM rexecutor_stored_jobs ORDER BY id DESC LIMIT 1
