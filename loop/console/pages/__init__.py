"""The pages that ops read, one module for each noun: its query, its route, what it tells.

overview   the loop as it stands now
metrics    what users get: latency, errors, votes, cost, by the hour
rollouts   canaries with their evidence; promote, pause, roll back
adapters   versions and where they come from
runs       trainings with their losses
datasets   what was learnt from
drift      what changed in the traffic
incidents  what alert rules found
jobs       what runs by itself
audit      what people did
users      who may sign in
account    one's own password
"""
