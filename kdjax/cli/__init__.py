"""Commands: flags, defaults, work folders, processes, compiled programs."""
