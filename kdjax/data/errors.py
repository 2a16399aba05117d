"""What is raised where a set is not to be had."""


class DataUnavailableError(ValueError):
  """A set is neither here nor to be had; the message names the ways out."""
