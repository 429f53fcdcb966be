-- Counts the sessions of other roles whose transactions this role may not see.
SELECT count(*) FROM pg_stat_activity
WHERE usesysid IS NOT NULL AND pid <> pg_backend_pid() AND query = '<insufficient privilege>'
