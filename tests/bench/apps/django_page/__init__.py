"""A Django site of one page: a query of twenty rows and a template, behind the usual middleware."""
