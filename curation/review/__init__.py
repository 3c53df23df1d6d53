"""CURATE: what people look at before it is learnt, and what they say of it.

words       decisions, rubric, and what reviewers together say of an item: pure
sampling    which candidates people see, and why: pure
queue       candidates in, review items out
leases      who holds which item, so that no two hold the same slot
desk        the whole: fill, take, decide, release, count
agreement   Krippendorff's alpha, and reviewers against known answers: pure
comparison  two adapters side by side, blind: pure
exchange    items and decisions on their way to other tools and back, as values
label_studio, argilla  the same in the formats of these tools: pure
handover    items out of the desk for them, decisions back into it
erasure     a person's items and reviews go
"""
