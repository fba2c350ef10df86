"""Markdown and HTML: dialects, extensions, links, highlighting and sanitizing."""
