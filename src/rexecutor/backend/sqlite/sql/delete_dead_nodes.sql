-- Removes the nodes whose lease ran out; their jobs are rescued in the same transaction.
DELETE FROM rexecutor_nodes WHERE lease_until <= :now
