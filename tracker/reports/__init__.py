"""What a campaign brought."""
