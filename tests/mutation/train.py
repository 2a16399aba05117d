"""Faults of a training step: schedules, the optimizer, averages."""

from tests.mutation.catalog import Mutation, mutations_of

_EDGES = 'tests/train/test_epoch_edges.py'
_DECAYED = 'optax.add_decayed_weights(weight_decay),'
_MASK = 'lambda params: jax.tree.map(lambda p: p.ndim > 1, params)'

MUTATIONS: list[Mutation] = [
  *mutations_of(
    'kdjax/train/step.py',
    'tests/train/test_step.py',
    (
      'context_epoch_a_step_early',
      '(state.step // parts.steps_per_epoch)',
      '((state.step + 1) // parts.steps_per_epoch)',
      f'{_EDGES}::test_context_has_the_epochs_completed',
      f'{_EDGES}::test_stepped_weights_and_warm_ups_change_with_the_epoch',
    ),
    (
      'context_step_a_step_early',
      'context = Context(\n    step=state.step,',
      'context = Context(\n    step=state.step + 1,',
      f'{_EDGES}::test_context_has_the_epochs_completed',
    ),
    (
      'every_step_draws_the_same',
      'jax.random.split(jax.random.fold_in(key, step))',
      'jax.random.split(key)',
      'test_step_depends_on_seed_and_step_only',
    ),
    (
      'task_loss_is_summed',
      'parts.task.loss(student.features, batch).mean()',
      'parts.task.loss(student.features, batch).sum()',
      f'{_EDGES}::test_the_task_term_is_its_weight_times_the_mean_loss',
    ),
    (
      'frozen_student_is_trained',
      "return {'student': student, 'method': method}",
      "return {'student': True, 'method': method}",
      'test_inactive_student_parameters_keep_value_and_momentum',
    ),
  ),
  *mutations_of(
    'kdjax/train/forward.py',
    'tests/train/test_step.py',
    (
      'teacher_statistics_do_not_drift',
      'return teacher, stats if drifts else state.teacher_stats',
      'return teacher, state.teacher_stats',
      'test_statistics_of_a_teacher_in_training_mode_change',
    ),
    (
      'teacher_always_in_evaluation_mode',
      "teacher_variables, batch['image'], train=drifts",
      "teacher_variables, batch['image'], train=False",
      'test_statistics_of_a_teacher_in_training_mode_change',
    ),
  ),
  *mutations_of(
    'kdjax/train/recipe.py',
    'tests/train/test_recipe.py',
    (
      'optimizer_keeps_the_alignments_momentum',
      'return optimizer_lib.reset_at(sgd, starts)',
      'return optimizer_lib.reset_at(sgd, starts[:0])',
      f'{_EDGES}::test_the_optimizer_is_reset_after_the_alignment',
    ),
    (
      'rate_decays_an_epoch_late',
      'decays = jnp.sum(epoch >= milestones)',
      'decays = jnp.sum(epoch > milestones)',
      'test_default_step_schedule_over_240_epochs',
    ),
    (
      'cosine_ends_an_epoch_early',
      'phase = jnp.minimum(epoch / epochs, 1.0)',
      'phase = jnp.minimum(epoch / (epochs - 1), 1.0)',
      'test_cosine_schedule_decreases_to_the_final_rate',
    ),
    (
      'rate_changes_within_an_epoch',
      'return self.learning_rate_at(step // steps_per_epoch)',
      'return self.learning_rate_at((step + 1) // steps_per_epoch)',
      'test_step_schedule_is_constant_within_epochs',
    ),
  ),
  *mutations_of(
    'kdjax/train/stages.py',
    'tests/train/test_stages.py',
    (
      'alignment_an_epoch_too_long',
      'aligning = context.epoch < self.epochs',
      'aligning = context.epoch <= self.epochs',
      f'{_EDGES}::test_the_alignment_ends_with_its_last_epoch',
    ),
    (
      'alignment_factor_afterwards',
      'factor = jnp.where(aligning, self.factor, 1.0)',
      'factor = jnp.where(aligning, 1.0, self.factor)',
      f'{_EDGES}::test_the_alignment_ends_with_its_last_epoch',
    ),
    (
      'student_trained_while_aligning',
      'active = ~aligning & updates.student_active',
      'active = aligning & updates.student_active',
      f'{_EDGES}::test_the_alignment_ends_with_its_last_epoch',
    ),
    (
      'second_schedule_counts_both_stages',
      'rate = self._rate(epoch - self.align_epochs, self.epochs)',
      'rate = self._rate(epoch, self.epochs)',
      'test_learning_rate_has_one_schedule_per_stage',
    ),
    (
      'alignment_starts_no_stage',
      'return (self.epochs, *self.method.stage_starts)',
      'return (self.epochs + 1, *self.method.stage_starts)',
      f'{_EDGES}::test_the_optimizer_is_reset_after_the_alignment',
    ),
  ),
  *mutations_of(
    'kdjax/train/optimizer.py',
    'tests/train/test_optimizer.py',
    (
      'vectors_are_not_decayed',
      _DECAYED,
      f'optax.add_decayed_weights(weight_decay, mask={_MASK}),',
      'test_weights_of_any_rank_are_decayed',
    ),
    (
      'no_weight_decay',
      _DECAYED,
      'optax.add_decayed_weights(0 * weight_decay),',
      'tests/train/test_recipe.py::test_two_sgd_steps_worked_by_hand',
    ),
    (
      'nesterov_ignored',
      'nesterov=nesterov,\n      ),',
      'nesterov=False,\n      ),',
      'tests/train/test_recipe.py::test_two_nesterov_steps_worked_by_hand',
    ),
    (
      'rate_factor_ignored',
      'learning_rate * learning_rate_factor,\n',
      'learning_rate,\n',
      'test_scaled_learning_rate_applies_to_every_step',
    ),
    (
      'reset_a_step_late',
      'jnp.sum(count >= jnp.asarray(steps), dtype=jnp.int32)',
      'jnp.sum(count > jnp.asarray(steps), dtype=jnp.int32)',
      'test_momentum_is_reset_at_stage_starts',
    ),
    (
      'zero_gradients_skipped_for_ever',
      '(count >= steps) | jnp.any(gradient != 0)',
      'jnp.any(gradient != 0)',
      'test_zero_gradients_are_skipped_in_early_steps_only',
    ),
    (
      'classifier_is_slower',
      'factor * update if is_body else update',
      'update if is_body else factor * update',
      'tests/train/test_stages.py::'
      'test_body_factor_scales_the_updates_of_the_body',
    ),
    (
      'momentum_of_inactive_parameters_decays',
      'return changes, jax.tree.map(jnp.where, masks, new_state, old_state)',
      'return changes, new_state',
      'test_inactive_parameters_keep_value_and_state',
    ),
  ),
  *mutations_of(
    'kdjax/train/averaging.py',
    'tests/train/test_averaging.py',
    (
      'ema_swapped',
      "state.averages['ema'], 1 - decay",
      "state.averages['ema'], decay",
      'test_an_exponential_average_of_numbers',
    ),
    (
      'ema_without_warm_up',
      'jnp.minimum(self.decay, (1 + done) / (10 + done))',
      'jnp.minimum(self.decay, 1 + done)',
      'test_an_exponential_average_of_numbers',
    ),
    (
      'ema_variants_swapped',
      "return {'ema': dataclasses.replace(raw, **average), 'raw': raw}",
      "return {'ema': raw, 'raw': dataclasses.replace(raw, **average)}",
      'test_an_exponential_average_of_numbers',
    ),
    (
      'averages_without_statistics',
      "return {'params': state.params, 'batch_stats': state.batch_stats}",
      "return {'params': state.params}",
      'test_an_exponential_average_of_numbers',
    ),
    (
      'last_epochs_begin_early',
      'index = epoch - 1 - self.first',
      'index = epoch - self.first',
      'test_a_sum_of_the_last_epochs_of_numbers',
    ),
    (
      'as_published_is_the_mean',
      'return (0, 2) + (1,) * (count - 2)',
      'return (1,) * count',
      'test_published_form_counts_the_second_epoch_twice',
    ),
  ),
]
