"""What replicas share beside the store."""
