"""From a finished run to one that does a task.

`deriving` makes the new recipe, without torch; `splitting` says which records
may test it; `adapting` says which parameters a method trains;
`inheriting` takes from the source what the new run needs and keeps what is used in the end;
`tuning` does it; `forgetting` tells the new and the old task, before and after; `predicting` asks
the result.
"""
