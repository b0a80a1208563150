"""gan3d."""
