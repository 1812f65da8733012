"""Loss surfaces as numbers: planes, sampling, files."""
