"""Verdict to action: policy, quarantine."""
