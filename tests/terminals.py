"""Run a command in a pseudo-terminal and read its screen."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios

CONTROL = re.compile(rb'\x1b\[(\??[\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+')


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A test that a script runs in the background ignores Ctrl-C, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_in_terminal(command, *, columns=100, interrupt_at=None, **kwargs):
    """Return the exit status and all output; Ctrl-C is typed once ``interrupt_at`` appears."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
        **kwargs,
    )
    os.close(theirs)
    received = b''
    while True:
        try:
            received += os.read(ours, 65536)
        except OSError:  # the last process on the other side has ended
            break
        if interrupt_at is not None and interrupt_at in received:
            os.write(ours, b'\x03')
            interrupt_at = None
    os.close(ours)
    return process.wait(), received


def screen_of(received):
    """Return the lines that remain after all carriage returns, erasures and cursor movements."""
    lines, row, column = [''], 0, 0
    for match in CONTROL.finditer(received):
        text, (argument, command) = match.group(), match.groups()
        if command == b'A':
            row -= int(argument or 1)
        elif command == b'K':
            lines[row] = '' if argument == b'2' else lines[row][:column]
        elif text == b'\r':
            column = 0
        elif text == b'\n':
            row += 1
            lines += [''] * (row + 1 - len(lines))
        elif command is None:
            text = text.decode(errors='replace')
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
    return lines
