-- Begins a node's lease.
INSERT INTO rexecutor_nodes (id, name, doorbell, started_at, lease_until, epoch, renewed_at, state, executors)
VALUES (:id, :name, :doorbell, :now, :lease_until, :epoch, :now, :state, :executors)
