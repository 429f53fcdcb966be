-- Begins a new epoch of the node: claims of earlier epochs take nothing from then on. `lock_node` has locked the row.
UPDATE "rexecutor".nodes SET epoch = %(epoch)s WHERE id = %(node)s
