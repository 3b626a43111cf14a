"""Taking this host out of its load balancers and putting it back."""
