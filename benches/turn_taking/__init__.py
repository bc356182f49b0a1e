"""Modules of `barge_in.py`.

=============== ==================================================================
`sounds`        sounds of the person and the assistant
`call`          call on local servers, with every program in a process of its own
`program`       common parts of the programs: commands, reports, records
`ours`          program: this package as the assistant
`earlier`       program: a model of the earlier plugin's rules as the assistant
`vision_agents` program: Vision-Agents, as it is published, as the assistant
`person`        program: talks and listens
`sentinel`      program: detects stalls of the machine
`hearing`       analysis of received audio: time, level, parts of a reply
`trials`        parts of the measurement
`tables`        results as Markdown
`picture`       chart of one turn that was interrupted by a short word and resumed
=============== ==================================================================
"""
