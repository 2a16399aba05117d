"""All mutations, in the order of the table."""

from tests.mutation import data, losses, methods, networks, train
from tests.mutation.catalog import Mutation

MUTATIONS: list[Mutation] = [
  *losses.MUTATIONS,
  *methods.MUTATIONS,
  *networks.MUTATIONS,
  *data.MUTATIONS,
  *train.MUTATIONS,
]
