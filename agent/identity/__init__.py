"""Who this host is: instance metadata, the on-premises file, and the credentials that come with either."""
