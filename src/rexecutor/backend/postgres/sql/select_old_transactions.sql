-- Returns what keeps vacuum from removing dead rows for longer than `seconds`: open transactions and snapshots, prepared
-- transactions, replicas with feedback, and replication slots. The longest first, at most 10.
-- The age of a slot is not known; it is returned if it holds back more transactions than `transactions`.
SELECT kind, name, who, seconds, state FROM (
    SELECT
        'session' AS kind, pid::text AS name, concat_ws(', ', nullif(application_name, ''), usename) AS who,
        extract(epoch FROM clock_timestamp() - xact_start) AS seconds, state
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')
        AND (datname = current_database() OR backend_xmin IS NOT NULL)
    UNION ALL
    SELECT 'prepared', gid, owner, extract(epoch FROM clock_timestamp() - prepared), NULL
    FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'slot', slot_name, plugin, greatest(age(xmin), age(catalog_xmin)), NULL
    FROM pg_replication_slots
    WHERE greatest(age(xmin), age(catalog_xmin)) > %(transactions)s
) AS old
WHERE kind = 'slot' OR seconds > %(seconds)s
ORDER BY seconds DESC
LIMIT 10
