-- Notifies all listeners that these executors may have due jobs, with one notification for each executor.
SELECT pg_notify(%(channel)s, executor) FROM unnest(%(executors)s::text[]) AS executor
