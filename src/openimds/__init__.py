"""OpenIMDS: an open Azure Instance Metadata Service for one VM or a fleet of them."""

__version__ = "0.1.0"
