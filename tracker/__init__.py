"""A self-hosted UTM link builder and redirect tracker."""

__version__ = "0.1.0"
