"""Commands of the command line.

==============  ==================================================================
`join`          the assistant in a call, as a program
`demo`          a whole call on this machine: servers, assistant, person
`environment`   environments of the demo's programs
`audio_files`   sound of any file
`clips`         recordings that the person says
`subprocesses`  programs that report as JSON lines
`narration`     narration of a call, from the programs' reports
`display`       the narration on a terminal, or as plain lines
`measure`       figures of a call, from its recording and its events
`report`        conversation.wav, timeline.svg, summary.json and the printed summary
`view`          the command `report`: one HTML file of a recording
==============  ==================================================================
"""
