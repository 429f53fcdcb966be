-- Returns the executor of one waiting job; NULL if none waits. Index: queue_open.
SELECT (SELECT executor FROM "rexecutor".queue ORDER BY executor LIMIT 1)
