"""Repository to trusted set: fetch, verify, prove, activate."""
