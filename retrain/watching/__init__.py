"""RETRAIN, on how a training goes: its health, its report, and who else is told.

health       PURE  what the losses and gradients say, and what to change
curve              the points of a run, read from what it told
system             processor and memory while it trains
tracking           hands the job's progress to the trackers; one that fails is dropped
trackers           TensorBoard, MLflow, Weights & Biases behind one protocol
facts              all that a run's folder and row know
report             report.md and report.html from these facts
drawing            its curves as SVG
"""
