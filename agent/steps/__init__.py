"""What each lifecycle event does on this host."""
