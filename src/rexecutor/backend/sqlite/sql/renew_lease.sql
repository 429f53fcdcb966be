-- Renews a node's lease, even if it has run out: as long as the row exists, nobody has rescued the node's jobs.
-- `executors` is NULL if the node has told them before.
UPDATE rexecutor_nodes SET
    lease_until = :lease_until,
    doorbell = :doorbell,
    epoch = max(epoch, :epoch),
    renewed_at = :now,
    state = :state,
    executors = coalesce(:executors, executors)
WHERE id = :id
