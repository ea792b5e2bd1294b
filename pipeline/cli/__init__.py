"""Argument parsing and printing; everything else is called."""
