"""Servers that Marina is measured against, each as one would write it by hand."""
