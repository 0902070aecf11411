"""In-memory fakes of the ports, for users who write channels, engines and tools."""
