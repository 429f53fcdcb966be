-- Lets no claim of an earlier epoch of the node take anything any more.
UPDATE rexecutor_nodes SET epoch = :epoch WHERE id = :node
