"""One module for each revision; each names the one before it."""
