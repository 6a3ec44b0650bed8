"""Faults as values: what shall go wrong, for which requests, and what becomes of the answer.

Rules of the room are those of `core`: times, numbers and names are arguments. `plan` is one fault
and what may be said of it; `read` makes plans of what a person writes, playbooks among it; `match`
decides; `question` says what is answered instead; `delivery` what goes out of what was answered.

Theory. A fault stands around `answer` and never inside it. Each VM's requests that fit a plan are
numbered, and whether the n-th goes wrong is a function of the plan, the VM and n alone, so that the
same plan spoils the same requests everywhere and whatever else is set beside it.
"""
