"""What is done with units: a mode turns pictures or clips into rows of results."""
