"""The table of messages: what Gunicorn's log says when, and what Podicorn's says then.

Regular expressions for whole lines without time and pid; `N` stands for a pid, `PORT` for the server's port, `TAKEN` for a
port of others. Where the second is missing, Podicorn says the same, word for word and at the same level; where it is there,
the third says why.
"""

# ruff: noqa: E501 (lines of logs are as long as they are)

import re

MORE = "it says more"
USAGE = "a command line that is wrong ends in one sentence that says where and what to do; the exit code is the same"

#: By the life of `test_messages.py` that brings them about.
MESSAGES: dict[str, list[tuple[str, str, str]]] = {
    "start": [
        (r"\[INFO\] Starting gunicorn \S+", r"\[INFO\] Starting podicorn \S+", "the program's own name"),
        (r"\[INFO\] Listening at: http://127\.0\.0\.1:PORT \(N\)", "", ""),
        (r"\[INFO\] Using worker: sync", "", ""),
        (r"\[INFO\] Booting worker with pid: N", "", ""),
    ],
    "end": [
        (r"\[INFO\] Handling signal: term", "", ""),
        (r"\[INFO\] Worker exiting \(pid: N\)", "", ""),
        (r"\[INFO\] Shutting down: Master", "", ""),
    ],
    "signals": [
        (r"\[INFO\] Handling signal: ttin", "", ""),
        (r"\[INFO\] Handling signal: ttou", "", ""),
        (r"\[INFO\] Handling signal: usr1", "", ""),
        (r"\[INFO\] Handling signal: hup", "", ""),
        (r"\[INFO\] Hang up: Master", "", ""),
        (r"\[INFO\] Handling signal: int", "", ""),
    ],
    "second server": [
        (r"\[INFO\] Handling signal: usr2", "", ""),
        (r"\[WARNING\] USR2 signal ignored\. Child exists\.", "", ""),
        (r"\[WARNING\] USR2 signal ignored\. Parent exists\.", "", ""),
        (r"\[INFO\] Master has been promoted\.", "", ""),
    ],
    "errors of the app": [
        (r"\[ERROR\] Error handling request GET /raise", "", ""),
        (r"RuntimeError: the app raised before the head", "", ""),
    ],
    "deaths": [
        (
            r"\[ERROR\] Worker \(pid:N\) was sent SIGKILL! Perhaps out of memory\?",
            r"\[ERROR\] Worker \(pid:N\) was sent SIGKILL! (Perhaps out of memory\?|Not by the kernel for memory: .+)",
            "the kernel's count of kills tells whether it was memory, so that nobody has to guess",
        ),
        (r"\[WARNING\] Worker \(pid:N\) was sent SIGSEGV!", "", ""),
        (
            r"\[ERROR\] Worker \(pid:N\) exited with code 7\.",
            r"\[ERROR\] Worker \(pid:N\) exited with code 7, while serving GET /halt/7 for [\d.]+ s\.",
            MORE,
        ),
    ],
    "timeout": [
        (
            r"\[CRITICAL\] WORKER TIMEOUT \(pid:N\)",
            r"\[CRITICAL\] WORKER TIMEOUT \(pid:N\) while serving GET /sleep/60 for [\d.]+ s",
            MORE,
        ),
    ],
    "max_requests": [
        (
            r"\[INFO\] Autorestarting worker after current request\.",
            r"\[INFO\] Autorestarting worker: max_requests is reached; it serves until its replacement is ready",
            "it does not stop after that request: there would be a gap",
        ),
    ],
    "reload": [
        (r"\[WARNING\] Reloader is on\. Use in development only!", "", ""),
        (r"\[INFO\] Worker reloading: \S+/changing\.py modified", "", ""),
    ],
    "invalid requests": [
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: Invalid HTTP request line: 'GET'",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: invalid HTTP request line: .+",
            MORE,
        ),
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: Invalid HTTP Version: \(9, 9\)",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: unsupported HTTP version: HTTP/9\.9",
            MORE,
        ),
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: Invalid HTTP header name: 'A B'",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: invalid HTTP header name: 'A B'",
            "the same but for the case of a letter: the reason goes on in a sentence",
        ),
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: Request Line is too large \(\d+ > 4094\)",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: request line is too large \(more than 4094 bytes\)",
            "no more of it is read than is allowed",
        ),
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: limit request headers fields size",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: header field is too large \(more than 8190 bytes\): 'X'",
            MORE,
        ),
        (
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: Invalid HTTP Header: 'CONTENT-LENGTH'",
            r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: invalid Content-Length header: 'x'",
            MORE,
        ),
    ],
    "no app": [(r"Error: No application module specified\.", r"Error: no application module specified: .+", MORE)],
    "a module that is not there": [
        (
            r"ModuleNotFoundError: No module named 'nowhere'",
            r"\[ERROR\] cannot find the app 'nowhere:app': No module named 'nowhere' \(.+\)",
            "the traceback would be all of the server's own",
        ),
        (r"\[ERROR\] Worker \(pid:N\) exited with code 3\.", "", ""),
        (r"\[ERROR\] Reason: Worker failed to boot\.", r"\[CRITICAL\] Worker failed to boot\. .+", MORE),
    ],
    "a name that is not there": [
        (
            r"Failed to find attribute 'nope' in 'probe'\.",
            r"\[ERROR\] the app's module 'probe' \(.+\) has no 'nope'; name the app as MODULE:NAME",
            MORE,
        ),
        (r"\[ERROR\] Worker \(pid:N\) exited with code 4\.", "", ""),
        (r"\[ERROR\] Reason: App failed to load\.", r"\[CRITICAL\] App failed to load\. .+", MORE),
    ],
    "an app that cannot be called": [
        (
            r"Application object must be callable\.",
            r"\[ERROR\] the app 'probe:ROUTES' is not callable: it is of type dict",
            MORE,
        ),
    ],
    "an address in use": [
        (
            r"\[ERROR\] Connection in use: \('127\.0\.0\.1', TAKEN\)",
            r"\[ERROR\] Connection in use: 127\.0\.0\.1:TAKEN; retrying in 1 second",
            "an address as one writes it",
        ),
        (
            r"\[ERROR\] Can't connect to \('127\.0\.0\.1', TAKEN\)",
            r"\[CRITICAL\] cannot listen on 127\.0\.0\.1:TAKEN \(setting bind\): the address is in use by another process; .+",
            MORE,
        ),
    ],
    "an address of others": [
        (
            r"\[ERROR\] Invalid address: \('192\.0\.2\.1', 1\)",
            r"\[CRITICAL\] cannot listen on 192\.0\.2\.1:1 \(setting bind\): .+ this machine does not have that address",
            "no time brings the address, so that nothing is tried again",
        ),
    ],
    "no config file": [
        (r"Error: '/nope\.py' doesn't exist", r"Error: the config file /nope\.py does not exist; .+", MORE)
    ],
    "a config file that raises": [
        (
            r"Failed to read config file: \S+/wrong\.py",
            r"Error: cannot read config file \S+/wrong\.py: ZeroDivisionError: division by zero",
            "one sentence, below the traceback",
        ),
        (r"ZeroDivisionError: division by zero", "", ""),
    ],
    "an unknown flag": [
        (r"gunicorn: error: unrecognized arguments: --nope", r"Error: unexpected argument '--nope' found", USAGE)
    ],
    "a value that is none": [
        (
            r"gunicorn: error: argument -w/--workers: invalid int value: 'x'",
            r"Error: invalid value for workers: 'x' \(command line --workers\): .+",
            USAGE,
        ),
    ],
    "an unknown user": [
        (
            r"Error: No such user: 'nobodyatall'",
            r"Error: invalid value for user: 'nobodyatall' \(command line --user\): .+",
            USAGE,
        )
    ],
    "an unknown worker class": [
        (
            r"Error: class uri 'nope' invalid or not found: ",
            r"\[ERROR\] there is no worker type 'nope', .+",
            "what it looked for, without a traceback of the server's own",
        ),
    ],
    "a pid file of a server that runs": [
        (
            r"Error: Already running on PID N \(or pid file '\S+/pid' is stale\)",
            r"Error: pid file \S+/pid \(setting pidfile\): process \d+ is running; .+",
            MORE,
        ),
    ],
}


def readable(pattern: str) -> str:
    """A pattern as a text, with dots for what may be anything."""
    text = re.sub(r"\\S[+*]|\.\+|\[\\d\.\]\+|\\d\+", "…", pattern)
    return re.sub(r"\\(.)", r"\1", text).strip().replace("|", r"\|")


def table() -> list[str]:
    """The table as it stands in `SHOWN.md`."""
    lines = ["| when | Gunicorn | Podicorn | why |", "|---|---|---|---|"]
    for when, messages in MESSAGES.items():
        for gunicorn, podicorn, why in messages:
            said = f"`{readable(podicorn)}`" if podicorn else "the same"
            lines.append(f"| {when} | `{readable(gunicorn)}` | {said} | {why} |".replace("  ", " "))
    return lines
