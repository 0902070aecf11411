"""`python -m serve_app.engines.check`: do the engines compute rightly on this machine, and how fast.

Runs without Ray, Redis and Postgres, on a machine with torch and transformers: it is for the GPU that a
model will run on, before the model does.
"""
