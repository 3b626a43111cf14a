"""What a person types: one module per command, no rules inside."""
