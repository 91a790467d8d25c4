"""Feeds in, tested and signed definition sets out."""
