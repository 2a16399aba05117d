"""Checks whether FCFD can divide two networks into the same stages."""

from kdjax.features import NetworkSpec


def check_pair(student: NetworkSpec, teacher: NetworkSpec) -> None:
  """Raises a `ValueError` if two networks do not have the same stages."""
  for network in (student, teacher):
    if not network.has_tail or len(network.features.boundaries) < 2:
      raise ValueError(
        'fcfd passes the features of one network through later stages of the '
        f'other, but {network.name} cannot run from a later stage: it is not a '
        'stack of stages. Give its forward_tail and boundaries '
        '(docs/own-networks.md), or use a method of features only.'
      )
  counts = [len(n.features.boundaries) for n in (student, teacher)]
  if counts[0] != counts[1]:
    raise ValueError(
      'fcfd needs networks with the same number of stages, including the stem. '
      f'{_stages(student)}; {_stages(teacher)}. Choose another pair.'
    )


def _stages(network: NetworkSpec) -> str:
  boundaries = network.features.boundaries
  shapes = ', '.join(str(boundary.shape[1:]) for boundary in boundaries)
  return f'{network.name} has {len(boundaries)}: {shapes}'
