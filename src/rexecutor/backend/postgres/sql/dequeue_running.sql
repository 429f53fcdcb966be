-- Takes jobs out of the queue that execute already. Only a hand can have put them there, and no claim succeeds until then.
DELETE FROM "rexecutor".queue WHERE id IN (SELECT id FROM "rexecutor".running)
