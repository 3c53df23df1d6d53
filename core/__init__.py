"""Words that every stage of the loop shares: settings, errors, ids, clock, logs, files.

Imports none of our other packages. What may live here: values and small functions
that at least two stages need and that know nothing of the loop itself.
"""
