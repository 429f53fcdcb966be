-- Deletes the nodes whose lease has run out; their jobs are rescued in the same transaction.
DELETE FROM rexecutor_nodes WHERE lease_until <= :now
