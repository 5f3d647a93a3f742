"""One file a kind of environment that is not of our protocol: what it has -> `Environment`."""
