"""Owners, accounts and assistants as operators change them: read, compared, checked, saved."""
