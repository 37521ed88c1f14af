"""The probe behind ``wsgiref.validate``: any step of the server off PEP 3333 is an AssertionError and so a 500."""

from wsgiref.validate import validator

import probe

application = validator(probe.application)
