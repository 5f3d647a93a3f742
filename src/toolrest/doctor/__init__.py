"""Is this machine ready for a recipe? Checks that find what would stop or spoil a run."""
