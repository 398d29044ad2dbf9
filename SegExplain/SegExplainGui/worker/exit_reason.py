"""Why a process ended, in words, from its exit code and its last lines."""

import signal
from collections.abc import Iterable

MEMORY_HINT = "Close other programs, or choose a smaller region, a smaller batch or another device."
KILLED = 9
NO_MEMORY_WINDOWS = 0xC0000017
SHELL_SIGNAL_BASE = 128
# What Slicer's launcher writes when its child was ended by a signal; it hides which one behind exit code 1.
LAUNCHER_SAW_CRASH = "exit abnormally"


def exit_reason(exit_code: int, log: Iterable[str]) -> tuple[str, str]:
    """A clause that says why the process ended, and what to do about it, empty where nothing special helps.

    Args:
        exit_code: Negative signal number, a shell's 128 + signal number, an exit code, or a Windows status.
        log: Its last lines.
    """
    lines = list(log)
    number = _signal_number(exit_code)
    if any("MemoryError" in line or "std::bad_alloc" in line for line in lines[-3:]):
        return f"memory ran out ({_code(exit_code)})", MEMORY_HINT
    if number == KILLED or exit_code & 0xFFFFFFFF == NO_MEMORY_WINDOWS:
        return f"the operating system killed it, most likely because memory ran out ({_code(exit_code)})", MEMORY_HINT
    if any(LAUNCHER_SAW_CRASH in line for line in lines):
        return "it crashed, or the operating system killed it because memory ran out", MEMORY_HINT
    if number or exit_code < 0 or exit_code > 0xC0000000:
        return f"it crashed ({_code(exit_code)})", ""
    return f"it ended with {_code(exit_code)}", ""


def _signal_number(exit_code: int) -> int:
    """The signal that ended it, 0 where none did."""
    number = -exit_code if exit_code < 0 else exit_code - SHELL_SIGNAL_BASE
    return number if 0 < number < 65 else 0


def _code(exit_code: int) -> str:
    number = _signal_number(exit_code)
    if number in {entry.value for entry in signal.Signals}:
        return f"signal {signal.Signals(number).name}"
    if exit_code < -255 or exit_code > 0xC0000000:
        return f"exit code 0x{exit_code & 0xFFFFFFFF:08X}"
    return f"exit code {exit_code}"
