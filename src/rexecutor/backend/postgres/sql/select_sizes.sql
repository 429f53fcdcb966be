-- Returns the planner's estimates of how many rows the schema's tables have.
SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace(%(schema)s)
