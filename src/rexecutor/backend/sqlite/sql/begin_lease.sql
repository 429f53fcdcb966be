-- Begins a node's lease.
INSERT INTO rexecutor_nodes (id, name, doorbell, started_at, lease_until, epoch)
VALUES (:id, :name, :doorbell, :now, :lease_until, :epoch)
