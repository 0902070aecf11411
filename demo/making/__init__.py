"""Makes the demo models, and what they are trained on, from nothing: `python -m demo.making --help`."""
