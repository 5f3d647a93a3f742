"""Backends that get a policy's answers: transformers, vLLM, or a server. One file each."""
