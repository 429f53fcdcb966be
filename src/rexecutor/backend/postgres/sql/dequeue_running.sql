-- Takes jobs that already execute out of the queue. Only a change by hand can have put them there, and a claim that
-- meets one of them fails.
DELETE FROM "rexecutor".queue WHERE id IN (SELECT id FROM "rexecutor".running)
