import argparse

import pytest

from benchmarks import flag_types


def test_lists_are_parsed():
  assert flag_types.names('kd,icd') == ('kd', 'icd')
  assert flag_types.numbers('64,256') == (64, 256)
  assert flag_types.pairs('a:b,c:d') == (('a', 'b'), ('c', 'd'))
  assert flag_types.precisions('bfloat16') == ('bfloat16',)


@pytest.mark.parametrize(
  ('parse', 'text', 'message'),
  [
    (flag_types.numbers, '1,b', 'integers separated by commas'),
    (flag_types.pairs, 'a:b:c', 'teacher:student'),
    (flag_types.precisions, 'float16', 'float32, bfloat16'),
  ],
)
def test_errors_name_what_is_expected(parse, text, message):
  with pytest.raises(argparse.ArgumentTypeError, match=message):
    parse(text)


def test_repeats_may_be_omitted(capsys):
  flags = flag_types.make_parser('', repeats=3).parse_args([])
  assert flags.repeats == 3
  with pytest.raises(SystemExit):
    flag_types.make_parser('', repeats=None).parse_args(['--repeats=1'])
  assert '--repeats' in capsys.readouterr().err
