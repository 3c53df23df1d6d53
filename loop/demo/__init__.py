"""The demo: the whole loop on real parts, with simulated users of an invented support desk.

`desk.py` is the hidden truth, `people.py` says who asks what and how they react, `users.py`
lets them act (a process of its own that knows only the public API and that truth). `story.py`
conducts; `evidence.py` reads what it left behind into the values of `result.py`, which
`report.py` and `plots.py` write down. Run it by `ratchet demo`.
"""
