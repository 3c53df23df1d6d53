"""The console's benchmark: every page with a million interactions stored, on both databases.

figures   the arithmetic: percentiles, goals
build     the rows
measure   a real console process, asked page by page
report    tables, a drawing, a JSON file
"""
