-- Releases a duty, if the node holds it, so that others can take it.
DELETE FROM rexecutor_duties WHERE duty = :duty AND node = :node
