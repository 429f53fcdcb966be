-- Returns the schema's tables and views, and whether this role may use each as workers do.
SELECT
    relname,
    has_table_privilege(oid, 'SELECT')
    AND (
        relkind = 'v'
        OR has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE')
        AND has_table_privilege(oid, 'DELETE')
    )
FROM pg_class
WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p', 'v')
