-- Returns the settings of the server and of this session that say whether jobs are safe and found, and how many
-- connections are in use.
SELECT
    current_setting('server_version_num')::integer, current_setting('server_version'),
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
    current_setting('fsync'), current_setting('synchronous_commit'), current_setting('autovacuum'),
    current_setting('track_counts'), current_setting('max_connections')::integer,
    current_setting('superuser_reserved_connections')::integer,
    -- The type of another role's session may be hidden.
    (
        SELECT count(*) FROM pg_stat_activity
        WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')
    )
