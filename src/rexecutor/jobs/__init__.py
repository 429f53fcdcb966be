"""What users define and enqueue: executors, builders, handles, schedules and pruners."""
