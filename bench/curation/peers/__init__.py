"""Near dedupe by other libraries, each in an environment of its own under `bench/.envs`.

A peer is a script that needs its library and nothing of ours: texts and the parameters of MinHash
come in as JSON, seconds and what was found go out as JSON. All get the same texts, the same
5-grams of characters, as many permutations and the same bands.
"""
