"""What a policy answers through: transformers here, vLLM here, or a server. One file each."""
