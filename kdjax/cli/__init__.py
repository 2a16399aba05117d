"""Plumbing of commands: flags, work folders, processes, compiled programs."""
