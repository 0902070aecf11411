"""The application: everything that can be tested without Ray."""
