"""Faults of the losses."""

from tests.mutation.catalog import Mutation, mutations_of

_HAND = 'tests/losses/test_hand_cases.py'
_ENTROPIC = 'tests/losses/test_sinkhorn_values.py'
_GRADIENTS = 'test_gradients_are_those_of_the_values_at_a_constant_epsilon'

MUTATIONS: list[Mutation] = [
  *mutations_of(
    'kdjax/losses/_logits.py',
    'tests/losses/test_logits.py',
    (
      'kl_without_square_of_temperature',
      'return jnp.square(temperature) * divergence',
      'return temperature * divergence',
      'SoftTargetKlTest',
    ),
    (
      'kl_of_a_cold_teacher',
      'full_precision(teacher_logits) / temperature)',
      'full_precision(teacher_logits))',
      'SoftTargetKlTest',
    ),
    (
      'label_smoothing_sign',
      'of_label - smoothed',
      'of_label + smoothed',
      'test_cross_entropy_worked_by_hand',
    ),
    (
      'kl_of_an_excluded_class',
      'jnp.where(possible, jnp.where(possible, log_p, 0) - log_q, 0)',
      'log_p - log_q',
      'tests/losses/test_excluded_classes.py::'
      'test_soft_target_kl_of_excluding_teacher',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_multilabel.py',
    'tests/losses/test_logits.py',
    (
      'binary_cross_entropy_of_the_other_class',
      'jnp.where(labels > 0, -z, z)',
      'jnp.where(labels > 0, z, -z)',
      'test_sigmoid_cross_entropy_worked_by_hand',
    ),
    (
      'binary_cross_entropy_counts_unlabeled',
      'count = jnp.maximum(labeled.sum(-1), 1)',
      'count = jnp.asarray(labels).shape[-1]',
      'test_sigmoid_cross_entropy_worked_by_hand',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_icd.py',
    'tests/losses/test_icd.py',
    (
      'icd_p_and_q_swapped',
      'jnp.exp(log_q) * (log_q - log_p)',
      'jnp.exp(log_p) * (log_p - log_q)',
      'test_both_softmaxes_worked_by_hand',
    ),
    (
      'icd_both_softmaxes_along_rows',
      'log_q = jax.nn.log_softmax(logits.T, axis=1)',
      'log_q = jax.nn.log_softmax(logits, axis=1)',
      'test_both_softmaxes_worked_by_hand',
    ),
    (
      'icd_contrast_of_the_teacher',
      'jnp.diagonal(log_p)',
      'jnp.diagonal(log_q)',
      'test_both_softmaxes_worked_by_hand',
    ),
    (
      'icd_scale_divides',
      'scale * matmul(u, v.T) + bias',
      'matmul(u, v.T) / scale + bias',
      'test_loss_of_two_images_worked_by_hand',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_ssim.py',
    'tests/losses/test_ssim.py',
    (
      'ssim_c2_by_k1',
      '** 2, (self.k2 * self.data_range) ** 2',
      '** 2, (self.k1 * self.data_range) ** 2',
      'test_the_defaults_are_the_papers',
    ),
    (
      'ssim_c1_for_c2',
      '(2 * moments.covariance(0, 1) + c2)',
      '(2 * moments.covariance(0, 1) + c1)',
      'test_one_window_worked_by_hand',
    ),
    (
      'ssim_half_of_c2_in_structure',
      '(moments.covariance(0, 1) + c2 / 2) / (product + c2 / 2)',
      '(moments.covariance(0, 1) + c2) / (product + c2)',
      'test_one_window_worked_by_hand',
    ),
    (
      'ssim_sigma_default',
      'sigma: float = 1.5',
      'sigma: float = 2.0',
      'test_the_defaults_are_the_papers',
    ),
    (
      'ssim_gradient_by_hand',
      '((0.5 - value) * tangents[1]',
      '((0.5 + value) * tangents[1]',
      'test_custom_gradient_matches_autodiff',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_windows.py',
    'tests/losses/test_ssim.py',
    (
      'window_sigma_without_two',
      '(2 * sigma**2)',
      '(sigma**2)',
      'test_the_defaults_are_the_papers',
    ),
    (
      'window_border_repeats_the_edge',
      "pixels = np.pad(pixels, half, mode='reflect')",
      "pixels = np.pad(pixels, half, mode='symmetric')",
      'test_window_means_match_numpy_with_reflection',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_rescale.py',
    'tests/losses/test_ssim.py',
    (
      'rescale_by_the_maximum',
      '/ (high - low + epsilon)',
      '/ (high + epsilon)',
      'test_4_rescaling_by_channel_removes_scale_and_shift',
    ),
    (
      'rescale_channels_together',
      "'channel': (1, 2),",
      "'channel': (1, 2, 3),",
      'test_4_rescaling_by_channel_removes_scale_and_shift',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_mmd.py',
    _HAND,
    (
      'mmd_bandwidth_has_a_gradient',
      'return jnp.sqrt(jax.lax.stop_gradient(squares))',
      'return jnp.sqrt(jnp.where(squares > 0, squares, 1)) * (squares > 0)',
      'test_the_default_bandwidth_is_constant_in_the_gradient',
    ),
    (
      'mmd_kernel_without_two',
      'denominator = 2 * jnp.square(bandwidth)',
      'denominator = jnp.square(bandwidth)',
      'test_distances_of_three_points_in_the_plane',
    ),
    (
      'mmd_unbiased_by_n_squared',
      '/ (n * (n - 1))',
      '/ (n * n)',
      'test_unbiased_mmd_excludes_the_diagonals',
    ),
    (
      'mmd_scales_multiply_sigma',
      '(denominator * scale)',
      '(denominator * scale**2)',
      'test_mmd_is_the_mean_over_its_scales',
    ),
    (
      'mmd_cosine_not_squared',
      'matmul(x, y.T) ** 2\n',
      'matmul(x, y.T)\n',
      'test_cosine_kernel_of_two_directions',
    ),
    (
      'mmd_one_bandwidth_of_all_classes',
      'bandwidth = jnp.mean(jnp.stack(distances), axis=0)',
      'bandwidth = jnp.max(jnp.stack(distances), axis=0)',
      'tests/losses/test_classes.py::test_per_class_values_and_gradients_match_single_classes',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_moments.py',
    _HAND,
    (
      'variance_with_divisor_n_minus_1',
      'return mean, jnp.mean((x - mean) ** 2, axis=0)',
      'return mean, jnp.sum((x - mean) ** 2, axis=0) / max(len(x) - 1, 1)',
      'test_distances_of_two_points_on_a_line',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_gaussian.py',
    _HAND,
    (
      'gaussian_kl_over_the_wrong_variance',
      'means = (mean_x - mean_y) ** 2 / (v_y + ridge)',
      'means = (mean_x - mean_y) ** 2 / (v_x + ridge)',
      'test_distances_of_two_points_on_a_line',
    ),
    (
      'gaussian_w2_of_variances',
      'standard_deviation(*student) - standard_deviation(*teacher)',
      'student[1] - teacher[1]',
      'test_distances_of_two_points_on_a_line',
    ),
    (
      'jeffreys_means_of_one_direction',
      '(1 / v_x + 1 / v_y)',
      '(2 / v_x)',
      'tests/losses/test_properties.py::'
      'test_4_divergences_are_positive_and_jeffreys_is_symmetric',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_bures.py',
    'tests/losses/test_bures.py',
    (
      'bures_forgets_null_directions',
      'removed = jnp.sum(y**2) - jnp.sum(rotated**2)',
      'removed = jnp.zeros(())',
      'test_distance_matches_the_formula_with_matrix_roots',
    ),
    (
      'bures_divisor_n_minus_1',
      '(samples - jnp.mean(samples, axis=0)) / n**0.5',
      '(samples - jnp.mean(samples, axis=0)) / (n - 1) ** 0.5',
      'test_distance_matches_the_formula_with_matrix_roots',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_lsh.py',
    'tests/losses/test_lsh.py',
    (
      'lsh_bits_swapped',
      'jnp.where(of_teacher > 0, -of_student, of_student)',
      'jnp.where(of_teacher > 0, of_student, -of_student)',
      'test_loss_worked_by_hand',
    ),
    (
      'lsh_bit_of_a_hash_of_zero',
      'jnp.where(of_teacher > 0, -of_student, of_student)',
      'jnp.where(of_teacher >= 0, -of_student, of_student)',
      'tests/golden/test_lshfm.py::test_committed_values_match[loss_07_ties]',
    ),
    (
      'lsh_squared_sums',
      'jnp.mean(jnp.square(of_student - of_teacher), axis=-1)',
      'jnp.sum(jnp.square(of_student - of_teacher), axis=-1)',
      'test_squared_hash_differences_estimate_the_squared_distance',
    ),
    (
      'lsh_bias_is_subtracted',
      '+ full_precision(bias)',
      '- full_precision(bias)',
      'test_loss_worked_by_hand',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_features.py',
    'tests/losses/test_hand_cases.py',
    (
      'mean_squared_error_sums',
      'jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))',
      'jnp.sum(difference**2, axis=tuple(range(1, difference.ndim)))',
      'test_distances_of_features',
    ),
    (
      'mean_absolute_error_squares',
      'jnp.mean(magnitude(difference), axis',
      'jnp.mean(magnitude(difference) ** 2, axis',
      'test_distances_of_features',
    ),
    (
      'direction_error_sums',
      'jnp.mean((unit_rows(x) - unit_rows(y)) ** 2, axis=-1)',
      'jnp.sum((unit_rows(x) - unit_rows(y)) ** 2, axis=-1)',
      'test_distances_of_features',
    ),
  ),
  *mutations_of(
    'kdjax/losses/_per_class.py',
    'tests/losses/test_classes.py',
    (
      'mean_over_absent_classes_too',
      'jnp.sum(values) / jnp.maximum(jnp.sum(counts > 0), 1)',
      'jnp.mean(values)',
      'test_aggregation_worked_by_hand',
    ),
    (
      'weighted_by_classes',
      'jnp.sum(values * counts) / jnp.maximum(jnp.sum(counts), 1)',
      'jnp.sum(values * counts) / jnp.maximum(jnp.sum(counts > 0), 1)',
      'test_aggregation_worked_by_hand',
    ),
  ),
  *mutations_of(
    'kdjax/losses/transport/cost.py',
    _HAND,
    (
      'cost_of_half_the_product',
      'squares - 2 * matmul(x, y.T)',
      'squares - matmul(x, y.T)',
      'test_distances_of_three_points_in_the_plane',
    ),
  ),
  *mutations_of(
    'kdjax/losses/transport/wasserstein.py',
    'tests/losses/test_classes.py',
    (
      'transport_crosses_classes',
      'cost + 2 * jnp.max(cost) * (1 - same)',
      'cost + 0 * same',
      'test_per_class_transport_does_not_mix_classes',
    ),
  ),
  *mutations_of(
    'kdjax/losses/transport/joint.py',
    'tests/losses/test_samples.py',
    (
      'joint_normalized_labels_scaled',
      'return jnp.where(largest > 0, largest, 1), 1.0',
      'return jnp.where(largest > 0, largest, 1), largest',
      'test_normalized_joint_transport_worked_by_hand',
    ),
    (
      'joint_beta_ignored',
      'return 1.0, beta\n',
      'return 1.0, 1.0\n',
      'test_joint_transport_of_different_batch_sizes',
    ),
    (
      'joint_hard_labels_inverted',
      '(labels[:, None] != labels)',
      '(labels[:, None] == labels)',
      'tests/losses/test_properties.py::'
      'test_2_joint_transport_with_large_beta_is_class_conditional',
    ),
  ),
  *mutations_of(
    'kdjax/losses/transport/sinkhorn.py',
    _ENTROPIC,
    (
      'sinkhorn_epsilon_is_absolute',
      'return jnp.where(mean > 0, mean, 1) * epsilon',
      'return jnp.ones_like(mean) * epsilon',
      'test_values',
    ),
    (
      'sinkhorn_epsilon_has_a_gradient',
      'mean = jax.lax.stop_gradient(jnp.mean(cost))',
      'mean = jnp.mean(cost)',
      _GRADIENTS,
    ),
    (
      'sinkhorn_debiased_twice',
      '- (own[0] + own[1]) / 2',
      '- (own[0] + own[1])',
      'test_values',
    ),
    (
      'sinkhorn_cost_of_a_constant_plan',
      'jnp.sum(stepped.plan * cost)',
      'jnp.sum(jax.lax.stop_gradient(stepped.plan) * cost)',
      _GRADIENTS,
    ),
    (
      'sinkhorn_dual_without_its_mass',
      'potentials - solution.epsilon * (jnp.sum(solution.plan) - 1)',
      'potentials - 0 * jnp.sum(solution.plan)',
      _GRADIENTS,
    ),
  ),
  *mutations_of(
    'kdjax/losses/transport/entropic.py',
    _ENTROPIC,
    (
      'sinkhorn_marginals_of_the_rows',
      'jnp.exp(exponent) / self.cost.size',
      'jnp.exp(exponent) / len(self.f) ** 2',
      'test_values',
    ),
    (
      'sinkhorn_potential_of_the_columns',
      'g = epsilon * (g + jnp.log(m))',
      'g = epsilon * (g + jnp.log(n))',
      'test_values',
    ),
    (
      'sinkhorn_newton_step_backwards',
      '[1 / n - rows, 1 / m - columns]',
      '[rows - 1 / n, columns - 1 / m]',
      _GRADIENTS,
    ),
    (
      'sinkhorn_iterations_ignored',
      'max_iterations=stopping.iterations',
      'max_iterations=10',
      'test_values',
    ),
    (
      'sinkhorn_tolerance_ignored',
      'threshold=stopping.tolerance',
      'threshold=1e-1',
      'test_values',
    ),
  ),
]
