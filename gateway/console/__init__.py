"""The page that a browser gets at `/`: its files, and the figures that it asks for again and again."""
