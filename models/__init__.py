"""Recado's vocabulary: pydantic types without I/O, shared by every other package."""
