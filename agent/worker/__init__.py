"""One host command from start to finish."""
