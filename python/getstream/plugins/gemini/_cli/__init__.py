"""What the command line does.

==============  ==================================================================
`join`          the assistant in a call, as a program
`demo`          a whole call on this machine: servers, assistant, person
`environment`   the environments of the demo's programs
`clips`         what the person says
`programs`      a program that reports as JSON lines
`story`         what happens in a call, from the programs' reports
`display`       the story on a terminal, or as plain lines
`measure`       the numbers of a call, from its recording and its events
`report`        conversation.wav, timeline.svg, summary.json and the printed summary
==============  ==================================================================
"""
