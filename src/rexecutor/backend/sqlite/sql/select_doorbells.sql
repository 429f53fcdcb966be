-- Returns the doorbell addresses of the live nodes.
SELECT DISTINCT doorbell FROM rexecutor_nodes WHERE lease_until > :now AND doorbell IS NOT NULL
