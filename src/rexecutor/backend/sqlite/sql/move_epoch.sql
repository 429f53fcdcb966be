-- Begins an epoch of a node: claims of earlier epochs take nothing from now on.
UPDATE rexecutor_nodes SET epoch = :epoch WHERE id = :node
