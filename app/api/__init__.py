"""HTTP application: routes, health checks, request log, shutdown."""
