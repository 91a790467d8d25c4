"""What travels from publisher to scanner, and where it rests on a protected computer."""
