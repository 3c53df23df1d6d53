"""CANARY → PROMOTE, and the whole turn: the stages in order, and who starts them.

`turn.py` tells one turn of the loop, `stages.py` says how a rollout may move, `conductor.py`
moves it, `wiring.py` builds every part once, `cli.py` is the command line.
"""
