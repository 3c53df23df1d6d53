"""LOG: everything that happened, durable before it is acknowledged, and queryable.

Events go into the event log (embedded, or Kafka), ingest turns them into tables, and every
other stage reads those tables. Knows nothing of serving, training or rollouts beyond the
rows they leave here.
"""
