"""RETRAIN, which values of a recipe are best: real trainings, chosen one after another.

space        what may vary, from spaces/*.toml
plan         what a search was asked for, and its folder
values       PURE  a trial's values → its recipe, and how often it is evaluated
study        Optuna: storage, samplers, pruners
trials       one trial from its values to its loss
searching    the whole search; goes on after it was killed
report       search.md, search.html, best.toml
drawing      its drawings
"""
