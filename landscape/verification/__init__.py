"""The same numbers from independent implementations."""
