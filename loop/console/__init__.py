"""The operators' pages, on a port and with a login of their own.

app       the Litestar app: routes, templates, policies
login     who is signed in, and signing in and out
keys      the pages on API keys
server    its process
"""
