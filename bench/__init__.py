"""Marina measured from outside: each program is one command that prints a table, ratios included."""
