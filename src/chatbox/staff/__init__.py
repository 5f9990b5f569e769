"""What staff see and do, beside the conversations themselves."""
