"""A program in a terminal of its own, and a picture of its screen."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from xml.sax.saxutils import escape

import pyte

#: Of a dark terminal.
COLOURS = {
    "default": "#d7dae0", "black": "#3b4048", "red": "#ef6b73", "green": "#8cc570", "brown": "#e3b341",
    "blue": "#61a8f0", "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d7dae0", "brightblack": "#7d8590",
}  # fmt: skip
GROUND = "#16181f"
#: How much of their cell they fill, in eighths.
BLOCKS = {letter: 8 - number for number, letter in enumerate("█▉▊▋▌▍▎▏")}
CELL, LINE, EDGE = 8.4, 18, 14


class Terminal:
    """Use as a context manager."""

    def __init__(self, command: list[str], columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._control, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {"TERM": "xterm-256color", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self._process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
        )
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        os.close(self._control)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._control, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self._stream.feed(data)

    def text(self) -> str:
        """What is on the screen."""
        with self._lock:
            return "\n".join(self.screen.display)

    def svg(self) -> str:
        """The screen as a picture: each run of like cells is a text of its own, at its place."""
        with self._lock:
            lines = [self._line(number) for number in range(self.screen.lines)]
        while lines and not lines[-1]:
            lines.pop()
        width, height = self.screen.columns * CELL + 2 * EDGE, len(lines) * LINE + 2 * EDGE
        fonts = "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
            f'height="{height}" font-family="{fonts}" font-size="14">\n'
            f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n'
            + "\n".join(filter(None, lines))
            + "\n</svg>\n"
        )

    def _line(self, number: int) -> str:
        cells = [self.screen.buffer[number][column] for column in range(self.screen.columns)]
        runs: list[tuple[int, str, tuple]] = []
        for column, cell in enumerate(cells):
            look = (cell.fg, cell.bg, cell.bold, cell.reverse)
            if runs and runs[-1][2] == look:
                start, text, _ = runs[-1]
                runs[-1] = (start, text + cell.data, look)
            else:
                runs.append((column, cell.data, look))
        return "".join(self._run(number, *run) for run in runs)

    def _run(self, number: int, column: int, text: str, look: tuple) -> str:
        front, back, bold, reverse = look
        colour, ground = COLOURS.get(front, f"#{front}"), GROUND if back == "default" else COLOURS.get(back, f"#{back}")
        if reverse:
            colour, ground = ground, colour
        x, y = EDGE + column * CELL, EDGE + number * LINE
        parts = []
        if ground != GROUND:
            width = len(text) * CELL
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LINE}" fill="{ground}"/>')
        if set(text.strip()) <= BLOCKS.keys() and text.strip():
            # A bar, whose letters would leave gaps between them in most fonts.
            width = sum(BLOCKS[letter] for letter in text.strip()) / 8 * CELL
            parts.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{LINE - 6}" fill="{colour}"/>')
        elif text.strip():
            weight = ' font-weight="bold"' if bold else ""
            kept = text.rstrip()
            parts.append(
                f'<text x="{x:.1f}" y="{y + 13.5}" fill="{colour}"{weight} textLength="{len(kept) * CELL:.1f}" '
                f'xml:space="preserve">{escape(kept)}</text>'
            )
        return "".join(parts)
