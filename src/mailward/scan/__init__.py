"""A message becomes parts, parts go through the engines, and a verdict comes out."""
