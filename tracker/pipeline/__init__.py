"""From the spool into the store."""
