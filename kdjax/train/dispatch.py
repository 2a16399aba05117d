"""Length of dispatches: long enough to be cheap, short enough to stop."""

_DISPATCH_SECONDS = 1.0  # longest delay of a signal


def next_chunk(chunk: int, seconds: float) -> int:
  """Returns the length of the next dispatch, towards one second by doubling.

  It affects only when signals are noticed: the steps are the same.

  Args:
    chunk: Length of the last dispatch.
    seconds: Its duration.
  """
  if seconds > 2 * _DISPATCH_SECONDS:
    return max(1, chunk // 2)
  return 2 * chunk if seconds < _DISPATCH_SECONDS / 2 else chunk
