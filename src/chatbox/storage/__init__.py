"""Where sessions and their logs are kept."""
