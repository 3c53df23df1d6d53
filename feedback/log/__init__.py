"""The event log: what is appended here is durable, and is read in order by offset."""
