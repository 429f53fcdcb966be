-- Takes jobs out of the queue.
DELETE FROM rexecutor_queue WHERE id IN (SELECT value FROM json_each(:ids))
