"""What a job is and what may happen to it: values and rules, without I/O."""
