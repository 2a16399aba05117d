"""Generated input that no command may take: damaged, hostile or mistyped.

`python -m tests.fuzz` runs at least 500 seeded inputs. Each must end within a
minute with one line and exit status 1 or 2 (or 0 where the damage may be
harmless), touch nothing outside of its folder and run no foreign code.
"""
