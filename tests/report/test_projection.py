import numpy as np
import pytest

from kdjax.report import projection


def _cloud(seed=0, width=5):
  return np.random.default_rng(seed).normal(size=(50, width))


def test_plane_worked_by_hand():
  # Variance 9 along y, 1 along x, none along z; the mean is (1, 2, 3).
  offsets = [[0, 3, 0], [0, -3, 0], [1, 0, 0], [-1, 0, 0]]
  plane = projection.principal_plane(np.array(offsets) + [1.0, 2.0, 3.0])
  np.testing.assert_allclose(plane.mean, [1, 2, 3])
  np.testing.assert_allclose(plane.basis, [[0, 1], [1, 0], [0, 0]], atol=1e-12)
  np.testing.assert_allclose(plane.shares, [0.9, 0.1])


def test_the_sign_of_the_axes_is_fixed():
  cloud = _cloud()
  plane = projection.principal_plane(cloud)
  mirrored = projection.principal_plane(-cloud)
  np.testing.assert_allclose(plane.basis, mirrored.basis, atol=1e-12)


def test_width_one_and_constant_embeddings_are_finite():
  plane = projection.principal_plane(_cloud(width=1))
  points = plane.project(_cloud(width=1))
  assert points.shape == (50, 2)
  np.testing.assert_array_equal(points[:, 1], 0)
  still = projection.principal_plane(np.ones((4, 3)))
  np.testing.assert_array_equal(still.shares, 0)
  np.testing.assert_array_equal(still.project(np.ones((4, 3))), 0)


@pytest.mark.parametrize('flip', [1.0, -1.0])
def test_alignment_undoes_rotation_reflection_and_scale(flip):
  reference = _cloud(width=2)
  turn = np.array([[0.6, 0.8 * flip], [-0.8, 0.6 * flip]])
  got = projection.align(3 * reference @ turn + 5, reference)
  np.testing.assert_allclose(got, reference, atol=1e-12)


def test_alignment_into_a_wider_space_preserves_distances():
  cloud, reference = _cloud(1, 3), _cloud(2, 6)
  got = projection.align(cloud, reference)
  assert got.shape == (50, 6)
  before = np.linalg.norm(cloud[:, None] - cloud, axis=-1)
  after = np.linalg.norm(got[:, None] - got, axis=-1)
  np.testing.assert_allclose(after, before * after[0, 1] / before[0, 1])


def test_alignment_recovers_a_subspace():
  # Two of the reference's axes hold all its variance: nothing is lost.
  narrow = _cloud(3, 2)
  embedded = narrow @ np.linalg.qr(_cloud(4, 5)[:5])[0][:2]
  got = projection.align(narrow, embedded)
  np.testing.assert_allclose(got, embedded, atol=1e-12)


def test_alignment_matches_the_size_of_unrelated_embeddings():
  cloud, reference = _cloud(1, 4), _cloud(2, 3)
  got = projection.align(cloud, reference)
  np.testing.assert_allclose(got.mean(axis=0), reference.mean(axis=0))
  size = np.square(got - got.mean(axis=0)).sum()
  wanted = np.square(reference - reference.mean(axis=0)).sum()
  assert size == pytest.approx(wanted)
  still = projection.align(0 * cloud, reference)
  np.testing.assert_allclose(still, np.tile(reference.mean(axis=0), (50, 1)))
