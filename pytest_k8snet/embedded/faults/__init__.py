"""Named faults of the reference network: what makes the claims fail, each for its own reason."""
