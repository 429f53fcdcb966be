-- Releases a lock, if the node holds it, so that others can take it.
DELETE FROM rexecutor_duties WHERE duty = :name AND node = :node
