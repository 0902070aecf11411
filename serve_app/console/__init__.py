"""The operators' pages at `/console`."""
