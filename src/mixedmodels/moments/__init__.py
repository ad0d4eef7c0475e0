"""Data to moments: the one step that reads rows."""
