"""BFCL with its official checker and simulated APIs, which run in a process of their own."""
