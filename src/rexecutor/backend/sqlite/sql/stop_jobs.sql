-- Ends the execution of jobs whose outcome is recorded in the same transaction.
DELETE FROM rexecutor_running WHERE id IN (SELECT value FROM json_each(:ids))
