"""RETRAIN, who else is told how a training goes: one small protocol, three of them.

tracker       the protocol: settings and numbers in, nothing out
tensorboard   event files in the run's folder; always
mlflow        a run on a tracking server or in SQLite
wandb         Weights & Biases, online or to be sent later
"""
