"""What `barge_in.py` is made of.

==============  ==================================================================
`sounds`        what the person and the assistant say
`call`          a call: the servers here, every program in a process of its own
`program`       what the programs have in common: commands, reports, records
`ours`          program: this package as the assistant
`earlier`       program: a model of the earlier plugin's rules as the assistant
`person`        program: talks and listens
`sentinel`      program: notices stalls of the machine
`hearing`       what was heard, when, and how much of it
`trials`        the parts of the measurement
`tables`        their results as Markdown
`picture`       one turn that was interrupted by a short word and resumed
==============  ==================================================================
"""
