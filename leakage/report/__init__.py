"""What a run leaves: the rows of attack.csv, figures and the summary; it computes nothing new."""
