-- Asks the node that runs a job to cancel it.
UPDATE rexecutor_running SET cancel_reason = :cancel_reason WHERE id = :id
