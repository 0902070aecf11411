"""Replies on their way out: sending once, delivery reports, and the sweeper that forgets nothing."""
