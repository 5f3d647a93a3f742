"""`toolrest report`: runs as one page that opens from disk."""
