"""What answers a policy's calls: protocol, adapters, and the processes that they run in."""
