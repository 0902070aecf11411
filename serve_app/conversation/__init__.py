"""One conversation turn: record, resolve the owner, transcribe, answer, commit, publish the reply."""
