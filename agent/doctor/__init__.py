"""What may be wrong with the set-up of this host: checks with a finding and a remedy, repairs, a support bundle."""
