"""The version: one number, readable without importing anything heavy."""

__version__ = "0.1.0"
