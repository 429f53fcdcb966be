-- Answers the database's time.
SELECT coalesce(%(now)s::timestamptz, now())
