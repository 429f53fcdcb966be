-- Returns when the next future job is due. Index: rexecutor_queue_later.
SELECT min(scheduled_at) FROM rexecutor_queue WHERE due = 0
