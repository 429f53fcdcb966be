"""Answers to operators' questions, as pure functions of rows that were read from the store. Commands print them."""
