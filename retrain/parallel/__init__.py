"""RETRAIN, how several processes share one training: a strategy in, what libraries need out. Pure.

plan        the strategy of a run, and how many processes it has
rules       which strategies go with which recipes: what was never checked is refused
starting    the command that starts the processes
value       one value of a configuration, and where it is from
zero        DeepSpeed's configuration, each value with its source
sharded     the values of transformers' own FSDP, each with its source

What they come to with torch is in `retrain.training.sharding`.
"""
