import pytest

from kdjax.runtime import processes as processes_lib
from kdjax.runtime.processes import in_cluster, lost_process

GONE = 'UNKNOWN: Gloo AllGather failed: Connection closed by peer'


@pytest.mark.parametrize(
  ('environment', 'several'),
  [
    ({}, False),
    ({'SLURM_JOB_ID': '3', 'SLURM_STEP_NUM_TASKS': '1'}, False),
    ({'SLURM_STEP_NUM_TASKS': '2'}, True),
    ({'OMPI_COMM_WORLD_SIZE': '4'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, False),
    ({'TPU_WORKER_HOSTNAMES': '10.0.0.1,10.0.0.2'}, True),
  ],
)
def test_cluster_is_detected_from_environment_variables(environment, several):
  assert in_cluster(environment) is several


def test_lost_process_is_detected_with_several_processes_only(monkeypatch):
  assert lost_process(ValueError(GONE)) is None
  monkeypatch.setattr(processes_lib.jax, 'process_count', lambda: 2)
  said = lost_process(ValueError(f'{GONE}\n  a stack'))
  assert said is not None
  assert said.startswith('another process of this run has ended')
  assert said.endswith(f'(JAX: {GONE})')
  assert lost_process(ValueError('batch_size must be at least 1')) is None
