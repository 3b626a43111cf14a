"""The agent's settings: one table, and the file that an operator writes."""
