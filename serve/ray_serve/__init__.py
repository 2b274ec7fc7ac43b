"""ray_serve."""
