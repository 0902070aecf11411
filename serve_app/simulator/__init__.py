"""A stand-in for Twilio, for trying the product and for its tests.

It is an independent witness: it signs, retries and answers by Twilio's documentation and shares no
code with the channel that talks to it.
"""
