"""Corefile text to directives with their places, and the helpers with which plugins read theirs; knows no plugin."""
