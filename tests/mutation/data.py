"""Faults of images: augmentation, views, constants, order, metrics."""

from tests.mutation.catalog import Mutation, mutations_of

MUTATIONS: list[Mutation] = [
  *mutations_of(
    'kdjax/data/recipes.py',
    'tests/data/test_recipes.py',
    (
      'crop_padding_3',
      '_CROP_AND_FLIP = Augmentation(crop_padding=4, flip=True)',
      '_CROP_AND_FLIP = Augmentation(crop_padding=3, flip=True)',
      'test_crops_shift_an_image_by_up_to_its_padding',
    ),
    (
      'cifar_std_of_another_library',
      '(0.2675, 0.2565, 0.2761)',
      '(0.2023, 0.1994, 0.2010)',
      'test_cifar_is_normalized_with_the_papers_constants',
    ),
  ),
  *mutations_of(
    'kdjax/convert/normalization.py',
    'tests/convert/test_normalization.py',
    (
      'vit_has_the_constants_of_imagenet',
      "'vit_': Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),",
      "'vit_': _IMAGENET,",
      'test_published_weights_have_the_constants_of_their_training',
    ),
    (
      'imagenet_std',
      '(0.229, 0.224, 0.225)',
      '(0.226, 0.226, 0.226)',
      'test_published_weights_have_the_constants_of_their_training',
    ),
    (
      'constants_of_the_command_ignored',
      'if mean or std:',
      'if mean and not std:',
      'test_constants_of_the_command_come_first',
    ),
  ),
  *mutations_of(
    'kdjax/data/stream/views.py',
    'tests/data/test_views.py',
    (
      'center_crop_truncates_half_pixels',
      'round((a - b) / 2) for a, b',
      '(a - b) // 2 for a, b',
      'test_a_center_crop_begins_at_the_rounded_middle',
    ),
    (
      'center_crop_rounds_half_pixels_up',
      'round((a - b) / 2) for a, b',
      '(a - b + 1) // 2 for a, b',
      'test_a_center_crop_begins_at_the_rounded_middle',
    ),
    (
      'center_crop_rounds_the_longer_side',
      'longer = int(self.shorter',
      'longer = round(self.shorter',
      'test_the_longer_side_of_a_center_crop_is_truncated',
    ),
    (
      'center_crop_turns_the_image',
      'if width >= height:',
      'if width < height:',
      'test_center_crop_is_the_middle_of_the_resized_image',
    ),
    (
      'aspect_ratio_uniform',
      'ratio = math.exp(random.uniform(low, high))',
      'ratio = random.uniform(*self.ratio)',
      'test_random_crops_have_the_given_areas_and_aspect_ratios',
    ),
    (
      'aspect_ratio_inverted',
      'across = round(math.sqrt(area * ratio))\n'
      '      down = round(math.sqrt(area / ratio))',
      'across = round(math.sqrt(area / ratio))\n'
      '      down = round(math.sqrt(area * ratio))',
      'test_random_crops_have_the_given_areas_and_aspect_ratios',
    ),
  ),
  *mutations_of(
    'kdjax/data/images.py',
    'tests/golden/test_imagenet_networks.py',
    (
      'images_resized_bicubically',
      'return image.resize((width, height), RESAMPLING)',
      'return image.resize((width, height), Image.Resampling.BICUBIC)',
      'test_evaluation_views_are_torchvisions_pixel_by_pixel',
    ),
  ),
  *mutations_of(
    'kdjax/data/augment.py',
    'tests/data/test_augment.py',
    (
      'flips_the_others',
      'jnp.where(flipped[:, None], columns[::-1], columns)',
      'jnp.where(flipped[:, None], columns, columns[::-1])',
      'test_each_crop_is_the_padded_image_at_its_offset',
    ),
    (
      'last_offset_is_never_drawn',
      'jax.random.randint(crop_key, (2,), 0, self._offsets)',
      'jax.random.randint(crop_key, (2,), 0, self._offsets - 1)',
      'test_crops_and_flips_are_uniform',
    ),
    (
      'one_offset_for_both_axes',
      'position = offsets[:, 0] * self._offsets + offsets[:, 1]',
      'position = offsets[:, 0] * self._offsets + offsets[:, 0]',
      'test_crops_and_flips_are_uniform',
    ),
    (
      'pixels_over_256',
      '/ 255.0',
      '/ 256.0',
      'test_augmentation_without_crop_and_flip_only_scales',
    ),
  ),
  *mutations_of(
    'kdjax/data/color.py',
    'tests/data/test_color.py',
    (
      'gray_is_the_mean_of_channels',
      '(0.299, 0.587, 0.114)',
      '(0.333, 0.333, 0.334)',
      'test_every_order_matches_pillow_up_to_rounding',
    ),
    (
      'contrast_is_saturation',
      'jnp.where(step == 1, gray.mean(), gray)',
      'jnp.where(step == 1, gray, gray)',
      'test_every_order_matches_pillow_up_to_rounding',
    ),
  ),
  *mutations_of(
    'kdjax/data/order.py',
    'tests/data/test_order.py',
    (
      'every_epoch_has_one_order',
      'jax.random.permutation(jax.random.fold_in(key, epoch), rows)',
      'jax.random.permutation(key, rows)',
      'BatchOrderTest',
    ),
  ),
  *mutations_of(
    'kdjax/data/stream/imagenet.py',
    'tests/data/test_imagenet.py',
    (
      'evaluates_the_whole_image',
      '_SHORTER_SIDE = 256 / 224',
      '_SHORTER_SIDE = 224 / 224',
      'test_images_in_order_are_center_crops',
    ),
  ),
  *mutations_of(
    'kdjax/metrics.py',
    'tests/test_metrics.py',
    (
      'voc_envelope_of_lower_recalls',
      'np.maximum.accumulate(precision[::-1])[::-1]',
      'np.maximum.accumulate(precision)',
      'test_average_precision_worked_by_hand',
      'tests/golden/test_multilabel_metrics.py::test_committed_values_match',
    ),
    (
      'ties_in_order_of_the_images',
      'last = np.append(np.diff(scores[order]) != 0, True)',
      'last = np.ones(len(scores), bool)',
      'test_equal_scores_give_the_fraction_of_positives',
    ),
    (
      'ignored_images_are_negatives',
      'for k, valid in enumerate((labels >= 0).T)',
      'for k, valid in enumerate((labels >= -9).T)',
      'test_ignored_images_have_no_effect',
    ),
    (
      'f1_is_the_mean',
      'return 2 * precision * recall / ((precision + recall) or 1.0)',
      'return (precision + recall) / 2',
      'test_f1_is_the_harmonic_mean_of_precision_and_recall',
    ),
  ),
]
