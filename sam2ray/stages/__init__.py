"""The steps that a unit goes through, each told apart by what it needs: bytes, pixels, a GPU."""
