"""Files that a signature must match, made from the signature itself: for tests and comparisons."""
