"""Stability: which learning rates methods withstand."""
