-- Renews a node's lease, whether or not it has run out: as long as the row is there, nobody has rescued its jobs.
UPDATE rexecutor_nodes SET lease_until = :lease_until, doorbell = :doorbell, epoch = max(epoch, :epoch) WHERE id = :id
