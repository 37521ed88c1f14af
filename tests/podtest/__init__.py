"""Starts the real server the ways users do, and looks at it from outside.

Nothing in this package imports Podicorn: it knows a program, its sockets, its signals and /proc.

- ``server``      one running server, as an ordinary process or as PID 1 of a namespace
- ``launcher``    the small program that makes the namespace and reports the true exit status
- ``http``        HTTP over raw sockets: tells FIN from RST and a whole body from a cut one
- ``admin``       the admin API
- ``gate``        lets a test hold an app at a chosen line and let it go
- ``load``        many clients, every outcome recorded
- ``clients``     real HTTP clients and load tools, as programs
- ``processes``   /proc
"""
