"""Traffic as people make it, against a running product, and what came of it."""
