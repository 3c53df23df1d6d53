"""RETRAIN, what it costs and whether it is worth it. All pure but for reading the price table.

prices       what an hour of a machine costs
training     what a training will cost, and did
ownership    total cost, return and break-even
sources      where each number is from
advice       which method, or prompting and retrieval instead
"""
