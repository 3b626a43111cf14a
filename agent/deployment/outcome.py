"""The outcome of a host command and its diagnostics."""
