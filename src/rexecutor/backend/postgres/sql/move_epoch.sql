-- Lets no claim of an earlier epoch of the node take anything any more; its row is locked.
UPDATE "rexecutor".nodes SET epoch = %(epoch)s WHERE id = %(node)s
