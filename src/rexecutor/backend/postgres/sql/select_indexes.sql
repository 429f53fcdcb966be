-- Returns the schema's indexes, and whether each is valid: one is not after a CREATE or REINDEX that failed.
SELECT class.relname, index.indisvalid
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
WHERE class.relnamespace = to_regnamespace(%(schema)s)
