"""Says that this folder is a package, to be run by its name."""
