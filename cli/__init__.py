"""The command line: thin files that parse, call the library and print."""

from .application import main as main
