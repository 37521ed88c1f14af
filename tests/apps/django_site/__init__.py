"""A small Django site that uses what real ones use: ORM, admin, sessions, CSRF, uploads, static files."""
