"""The operators' pages, on a port and with a login of their own.

app       the Litestar app: routes, templates, policies
sessions  who is signed in
login     the page for signing in, and signing out
keys      the pages on API keys
review    the pages on which people review what may be learnt
difference  what changed between two texts, word by word
server    its process
"""
