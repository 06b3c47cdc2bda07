"""Audiences: groups of a workspace's customers, told by rules, counted, described and exported as customer lists."""
