"""Signals that ask a command to save and stop."""

import os
import signal

import pytest

from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, stop_on_signals


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_signal_is_a_request(name):
  number = getattr(signal, name)
  if name == 'SIGHUP':  # ignored where tests run without a terminal
    signal.signal(number, signal.SIG_DFL)
  with stop_on_signals() as request:
    assert not request.asked
    os.kill(os.getpid(), number)
    assert request.signal_number == number
    with pytest.raises(Interrupted, match=name):
      request.stop()


def test_a_hangup_that_is_ignored_stays_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with stop_on_signals() as request:
      os.kill(os.getpid(), signal.SIGHUP)
      assert not request.asked
  finally:
    signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_has_closed_stops_no_run(monkeypatch):
  progress = Progress()

  def closed(*args, **options):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(progress.console, 'print', closed)
  progress.say('saved')
  with progress.run({'arm': 'a', 'network': 'n', 'seed': 0}, 2, 0) as report:
    report(2, {})
