"""People are told what became of a message: recipients, an administrator, a sender of ours."""
