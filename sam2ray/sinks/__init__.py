"""Where results go: files that are their own commit."""
