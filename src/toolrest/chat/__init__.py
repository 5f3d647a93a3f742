"""Talking to a policy that has tools."""
