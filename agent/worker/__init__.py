"""One host command of the service from start to finish."""
