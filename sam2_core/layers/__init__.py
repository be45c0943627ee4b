"""Building blocks of the network that know nothing of SAM."""
