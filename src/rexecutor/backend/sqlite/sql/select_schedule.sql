-- Answers the newest tick that was taken of a schedule, and the one to come.
SELECT last_tick, next_tick FROM rexecutor_schedules WHERE id = :id
