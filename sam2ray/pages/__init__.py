"""Outputs as pages to look at: one file of HTML that needs nothing else, not even a network."""
