"""The queue: per-conversation mailboxes over Redis streams. See docs/queue.md."""
