"""What the sandbox's service knows and decides, without a word about HTTP."""
