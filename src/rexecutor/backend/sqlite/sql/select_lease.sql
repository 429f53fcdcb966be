-- Returns a row if the node's lease is live and the node has not given the claim up; otherwise it may claim nothing. The
-- row says whether there are pauses.
SELECT EXISTS (SELECT 1 FROM rexecutor_pauses) FROM rexecutor_nodes
WHERE id = :node AND lease_until > :now AND epoch <= :epoch
