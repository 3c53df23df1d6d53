"""SERVE: the API shapes that the gateway speaks, one module each, behind `protocol.Dialect`."""
