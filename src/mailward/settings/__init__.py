"""The sections of the configuration, by what they are for; ``mailward.config`` reads them."""
