"""Routes for monitoring and people: health, metrics, models and the documentation."""
