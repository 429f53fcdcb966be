-- Tells all who listen that these executors may have due jobs; one notification each.
SELECT pg_notify(%(channel)s, executor) FROM unnest(%(executors)s::text[]) AS executor
