"""The providers that messages come from and replies leave through, one folder each."""
