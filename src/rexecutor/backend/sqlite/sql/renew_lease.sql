-- Begins or renews a node's lease.
INSERT INTO rexecutor_nodes (id, name, doorbell, started_at, lease_until)
VALUES (:id, :name, :doorbell, :now, :lease_until)
ON CONFLICT (id) DO UPDATE SET
    doorbell = excluded.doorbell,
    lease_until = excluded.lease_until
