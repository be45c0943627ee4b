"""Outputs in the formats of other tools."""
