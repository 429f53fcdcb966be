-- Renews a node's lease, even if it has run out: as long as the row exists, nobody has rescued the node's jobs.
UPDATE rexecutor_nodes SET lease_until = :lease_until, doorbell = :doorbell, epoch = max(epoch, :epoch) WHERE id = :id
