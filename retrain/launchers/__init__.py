"""RETRAIN, where a run's process lives.

launcher     the protocol: a run's folder in, its result in the folder at the end
following    how a job elsewhere is followed by what it writes into its folder
kubernetes   a Job with one pod             slurm   a batch job         ray   a task
bundle       a run's folder that is whole by itself, for a place without our file system
managed      the specification that a managed cloud's own tools submit
hosted       fine-tuning by a model's owner: OpenAI, Azure OpenAI
"""
