"""Faults of the methods and of what changes with the epoch."""

from tests.mutation.catalog import Mutation, mutations_of

_EDGES = 'tests/train/test_epoch_edges.py'

MUTATIONS: list[Mutation] = [
  *mutations_of(
    'kdjax/methods/kd.py',
    'tests/methods/test_kd.py',
    (
      'kd_temperature_ignored',
      'temperature=self.temperature,',
      'temperature=1.0,',
      'test_term_is_the_weighted_mean_divergence',
    ),
  ),
  *mutations_of(
    'kdjax/methods/icd.py',
    'tests/methods/test_icd.py',
    (
      'icd_scale_without_a_cap',
      "jnp.minimum(jnp.exp(params['log_scale']), self.max_scale)",
      "jnp.exp(params['log_scale'])",
      'test_the_scale_is_trained_up_to_its_cap',
    ),
    (
      'icd_student_and_teacher_swapped',
      'groups = grouped(pair, ',
      'groups = grouped(pair[::-1], ',
      'test_term_is_the_mean_loss_of_projected_embeddings',
    ),
    (
      'icd_local_negatives_ignored',
      "if self.negatives == 'global':",
      "if self.negatives != 'none':",
      'test_local_negatives_are_those_of_each_group',
    ),
  ),
  *mutations_of(
    'kdjax/methods/ssim.py',
    'tests/methods/test_ssim.py',
    (
      'ssim_mean_over_stages',
      'total += self.distance(maps, target).mean()',
      'total += self.distance(maps, target).mean() / len(self.pairs)',
      'test_distances_of_stages_are_summed_and_those_of_images_averaged',
    ),
    (
      'ssim_l1_is_l2',
      'return losses.mean_absolute_error(student, teacher)',
      'return losses.mean_squared_error(student, teacher)',
      'test_l1_and_l2_compare_the_same_rescaled_maps',
    ),
    (
      'ssim_same_stages_of_the_teacher',
      'self.teacher_stages or self.stages',
      'self.stages or self.teacher_stages',
      'test_teacher_stages_may_have_other_indices',
    ),
  ),
  *mutations_of(
    'kdjax/methods/schedules.py',
    'tests/methods/test_schedules.py',
    (
      'warm_up_starts_at_zero',
      '(jnp.asarray(epoch) + 1.0) / max(epochs, 1)',
      'jnp.asarray(epoch) / max(epochs, 1)',
      'test_warm_up_includes_the_current_epoch',
    ),
    (
      'steps_begin_before_the_first',
      'for value in (0.0, *_values(weight))',
      'for value in (_values(weight)[0], *_values(weight))',
      'test_steps_apply_from_their_epoch',
    ),
    (
      'steps_an_epoch_late',
      '[epoch for epoch, _ in weight],',
      '[epoch + 1 for epoch, _ in weight],',
      'test_steps_apply_from_their_epoch',
    ),
    (
      'task_weight_an_epoch_late_after_a_stage',
      'first = ((epoch, started[-1]),)',
      'first = ((epoch + 1, started[-1]),)',
      f'{_EDGES}::test_the_alignment_ends_with_its_last_epoch',
    ),
  ),
  *mutations_of(
    'kdjax/methods/fcfd.py',
    'tests/methods/test_fcfd_step.py',
    (
      'fcfd_without_warm_up',
      'factor * value_at(self.feature_weight, epoch)',
      'value_at(self.feature_weight, epoch)',
      f'{_EDGES}::test_fcfd_warms_its_feature_losses_up_by_epochs',
    ),
    (
      'fcfd_mixed_weight_warmed_up',
      "'mixed': value_at(self.mixed_weight, epoch)",
      "'mixed': factor * value_at(self.mixed_weight, epoch)",
      f'{_EDGES}::test_fcfd_warms_its_feature_losses_up_by_epochs',
    ),
    (
      'fcfd_one_temperature',
      'step.divergence(student.features.logits, self.temperature)',
      'step.divergence(student.features.logits, step.temperature)',
      'test_the_terms_are_these_losses_with_the_weights_of_the_epoch',
    ),
    (
      'fcfd_unused_bridges_are_active',
      'active[stage] = chosen',
      'active[stage] = True',
      'tests/train/test_fcfd.py::'
      'test_unsampled_bridge_keeps_value_and_momentum',
    ),
  ),
  *mutations_of(
    'kdjax/methods/fcfd_step.py',
    'tests/methods/test_fcfd_step.py',
    (
      'fcfd_targets_are_not_detached',
      'jax.lax.stop_gradient(teacher.features)',
      'teacher.features',
      'test_targets_are_constants',
    ),
    (
      'fcfd_student_is_detached',
      'features = self.student.features.boundaries[i]',
      'features = jax.lax.stop_gradient(self.student.features.boundaries[i])',
      'test_gradients_flow_into_the_first_network_and_the_bridge',
    ),
    (
      'fcfd_wrong_network_after_the_bridge',
      'self.student.run_tail(variables, hidden, path.split + 1).logits',
      'self.teacher.tail(hidden, path.split + 1).logits',
      'test_a_path_into_the_student_has_soft_targets_only',
    ),
    (
      'fcfd_feature_weight_of_paths',
      "total = self.weights['features'] * total",
      "total = self.weights['mixed'] * total",
      'test_a_path_into_the_teacher_runs_its_later_stages',
    ),
    (
      'fcfd_soft_targets_without_weight',
      "return self.weights['mixed'] * self.divergence(",
      'return self.divergence(',
      'test_a_path_into_the_student_has_soft_targets_only',
    ),
    (
      'fcfd_embedding_left_out',
      '(total + self._embedding_distance(last))',
      '(total + 0 * self._embedding_distance(last))',
      'test_appearance_is_the_distance_in_the_teachers_space',
    ),
    (
      'fcfd_path_skips_a_stage',
      'later = range(path.split + 1, self.stages)',
      'later = range(path.split + 2, self.stages)',
      'test_a_path_into_the_teacher_runs_its_later_stages',
    ),
    (
      'fcfd_student_weights_are_constant',
      "variables = {**self.student.variables, 'params': params}",
      'variables = jax.lax.stop_gradient(self.student.variables)',
      'test_gradients_flow_into_the_first_network_and_the_bridge',
    ),
  ),
  *mutations_of(
    'kdjax/methods/fcfd_paths.py',
    'tests/methods/test_fcfd_paths.py',
    (
      'fcfd_splits_a_stage_early',
      'before = self.split + 1',
      'before = self.split',
      'test_paths_are_in_the_published_order',
    ),
    (
      'fcfd_a_path_twice',
      'replace=False',
      'replace=True',
      'test_pairs_of_paths_are_uniformly_distributed',
    ),
  ),
  *mutations_of(
    'kdjax/methods/bridges.py',
    'tests/methods/test_bridges.py',
    (
      'bridge_kind_of_the_source',
      "rectified = destination.boundary == 'post_relu'",
      "rectified = source.boundary == 'post_relu'",
      'test_leaky_relu_follows_only_for_rectified_boundaries',
    ),
    (
      'bridge_without_leak',
      'nn.leaky_relu(x, 0.1)',
      'nn.leaky_relu(x, 0.01)',
      'test_leaky_relu_follows_only_for_rectified_boundaries',
    ),
  ),
  *mutations_of(
    'kdjax/methods/lshfm.py',
    'tests/methods/test_lshfm.py',
    (
      'lshfm_where_the_student_is_right',
      'is_correct(teacher.features.logits, batch)',
      'is_correct(student.features.logits, batch)',
      'test_term_is_the_mean_over_all_or_correct_images',
    ),
    (
      'lshfm_planes_not_scaled',
      'kernel = kernel * classifier_std(classifier.kernel)',
      'kernel = kernel * 1.0',
      'test_prepare_computes_std_and_bias_from_the_teacher',
    ),
  ),
  *mutations_of(
    'kdjax/methods/lshfm_losses.py',
    'tests/methods/test_lshfm.py',
    (
      'lshfm_mean_over_all_images',
      'return total / jnp.maximum(jnp.sum(mask), 1)',
      'return total / len(values)',
      'test_term_is_the_mean_over_all_or_correct_images',
    ),
  ),
  *mutations_of(
    'kdjax/methods/lshfm_bias.py',
    'tests/methods/test_lshfm_bias.py',
    (
      'lshfm_upper_median',
      'middle = (count + unseen - 1) // 2',
      'middle = (count + unseen) // 2',
      'test_lower_median_is_exact_for_any_memory_limit',
    ),
    (
      'lshfm_bias_sign',
      'return np.negative(_mean(',
      'return np.positive(_mean(',
      'test_mean_bias_is_the_negative_mean_hash',
    ),
    (
      'lshfm_std_with_divisor_n',
      'ddof=1',
      'ddof=0',
      'test_standard_deviation_is_unbiased',
    ),
  ),
  *mutations_of(
    'kdjax/methods/kd2m.py',
    'tests/methods/test_kd2m.py',
    (
      'kd2m_scaled_by_the_student',
      'losses.total_variance(samples.teacher)',
      'losses.total_variance(samples.student)',
      'test_weight_and_scale_are_factors',
    ),
    (
      'kd2m_teacher_is_trained',
      'teacher=jax.lax.stop_gradient(teacher.features.embedding)',
      'teacher=teacher.features.embedding',
      'test_every_metric_has_gradients_of_the_student_only',
    ),
  ),
  *mutations_of(
    'kdjax/methods/combination.py',
    'tests/methods/test_combination.py',
    (
      'combination_one_key_for_all_parts',
      'context, key=jax.random.fold_in(context.key, i)',
      'context, key=context.key',
      'test_methods_have_different_random_keys',
    ),
    (
      'combination_last_part_decides',
      'student_active = student_active & update.student_active',
      'student_active = update.student_active | ~update.student_active',
      'tests/methods/test_contract.py::test_two_stages_can_be_combined',
    ),
  ),
]
