"""A stand-in for Meta's WhatsApp Cloud API, beside the one for Twilio."""
