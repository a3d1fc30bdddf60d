"""The routes that are not predictions."""
