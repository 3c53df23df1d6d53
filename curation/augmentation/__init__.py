"""CURATE, beside real data: examples that a model writes from real ones, marked and capped.

Candidates come in, new candidates go out, each with its seeds, its writer and the mark that people
must look at it. Off by default: the fine-tuning guide prefers real data ("Active Learning and Data
Augmentation"). `writing.augment` is the way in, `cap.cap` holds the share after other stages.
"""
