"""Settings: the variables that operators set, and how their values are parsed."""
