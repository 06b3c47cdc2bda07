"""The hot path: redirect and pixels."""
