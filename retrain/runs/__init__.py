"""RETRAIN, one training from request to registered adapter: a row, a folder and a process.

runner       the run's row and folder, from start to registration
spec         what the job is asked for, and what it hands back
job          the process that trains and evaluates
progress     how it tells where it is
checkpoints  which are whole, and where to go on from
"""
