"""Postgres, the system of record: the pool, the schema's migrations and the repositories."""
