-- Returns of the tables whose rows change all day how many rows are live and dead, when they were last vacuumed, whether
-- autovacuum is on for them, and their size in bytes.
SELECT
    stat.relname, stat.n_live_tup, stat.n_dead_tup, greatest(stat.last_vacuum, stat.last_autovacuum),
    NOT coalesce('autovacuum_enabled=false' = ANY(class.reloptions) OR 'autovacuum_enabled=off' = ANY(class.reloptions), false),
    pg_table_size(stat.relid)
FROM pg_stat_all_tables AS stat
JOIN pg_class AS class ON class.oid = stat.relid
WHERE stat.schemaname = %(name)s AND stat.relname IN ('stored_jobs', 'queue', 'running', 'ended')
ORDER BY stat.relname
