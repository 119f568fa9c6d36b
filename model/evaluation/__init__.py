"""Evaluation of generated music against the true music of the dances."""
