"""YAML with line and column, the problems found in it, and suggestions for misspelt names; no file is touched here."""
