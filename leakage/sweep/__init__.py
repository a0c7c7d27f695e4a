"""Many runs of one grid: which cells there are, how they are played, and their joined table."""
