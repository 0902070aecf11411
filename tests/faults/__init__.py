"""The fault campaign: the product from outside, with what breaks it, and a count of what was lost.

`./recado test --faults` runs it; `python -m tests.faults --help` says what it takes.
"""
