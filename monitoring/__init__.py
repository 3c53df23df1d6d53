"""DETECT: what the rows say about a rollout, as a verdict with its numbers and as a page.

    counts.py     rows → counts per step and arm
    eprocess.py   counts → evidence that may be looked at any time (pure)
    verdict.py    evidence → promote, hold or roll back (pure)
    report.py     one rollout → one HTML file: page.py (words), layout.py (pieces of HTML),
                  curves.py (records → lines), plots.py (lines → SVG)

Writes no table: `loop` stores the verdicts and moves the rollouts.
"""
