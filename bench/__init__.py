"""Comparisons that can be run: `make bench`. One machine's figures mean little; the ratios within a run count."""
