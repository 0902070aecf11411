"""The HTTP surface: webhooks and health."""
