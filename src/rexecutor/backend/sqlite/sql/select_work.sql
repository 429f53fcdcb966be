-- Returns whether any job is marked as due, and when the next of the others is due.
-- Indexes: rexecutor_queue_due, rexecutor_queue_later.
SELECT
    EXISTS (SELECT 1 FROM rexecutor_queue WHERE due = 1 AND flow IS NULL),
    (SELECT min(scheduled_at) FROM rexecutor_queue WHERE due = 0)
