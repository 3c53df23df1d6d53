"""What the event log costs and holds, in one run on real parts: `make bench-log`.

Every rate stands beside what the same disk, database or broker does with the same bytes in the
same run, so that the ratio means something on any machine: appended events beside bare fsyncs,
ingest beside a bulk insert of the rows that it wrote, the relay beside a bare Kafka producer.
Feedback is measured over HTTP on an open schedule, with no ingest running. Outages are real ones:
a broker that is not there, and processes that wait for it.

Results: a table, `bench/results/log.json` (machine, settings, all numbers, goals) and
`bench/results/log.png`.

    .venv/bin/python -m bench.log [--quick] [--parts commits ingest ...] [--help]
"""
