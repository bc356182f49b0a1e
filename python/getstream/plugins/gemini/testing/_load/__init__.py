"""Load a fleet with calls, and measure what it can carry.

================  ================================================================
`command`         the verb `load`: steps of growth, the table, the files
`plan`            growth and judgement: bounds of the service level, the verdict; pure
`measure`         figures from arrival times and from `/proc`
`picture`         the picture of the growth
`fleet`           the program under test, its webhooks and its state
`processes`       programs of the generator that take commands and report
`servers`         such a program: one of the two local servers
`people`          such a program: everybody who talks
`light_person`    one who talks: packets that are ready, and a decoder for what is heard
`media_link`      its media connections: ICE, DTLS, SRTP
================  ================================================================
"""
