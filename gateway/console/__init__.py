"""The console, the page that a browser gets at `/`: its files, and the figures that it polls."""
