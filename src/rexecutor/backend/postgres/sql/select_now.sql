-- Returns the database's time, or `now` if it is given.
SELECT coalesce(%(now)s::timestamptz, now())
