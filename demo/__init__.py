"""The demo business: its facts, its models, voice notes, and how they are made."""
