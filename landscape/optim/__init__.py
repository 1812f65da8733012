"""SGD, Adam and the sharpness-aware family, one variant a file."""
