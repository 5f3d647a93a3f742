"""A run's policy taken out of the run: a folder that transformers and servers load."""
