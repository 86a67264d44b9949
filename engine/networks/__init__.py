"""Networks and their weights: what they compute, where their files are, under which licence."""
