"""The HTTP application: routes, health checks, request log and shutdown."""
