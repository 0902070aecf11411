"""Inference engines: the models that hear and write, batched across requests, independent of Ray.

Importing this package is light: torch, transformers, ctranslate2 and faster-whisper are imported
when an engine starts.
"""
