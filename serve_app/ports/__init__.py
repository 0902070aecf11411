"""The Protocols at which the application's parts meet.

Implementations live in sibling packages that don't import each other; `serve_app.bootstrap`
introduces them. In-memory ones for tests are in `serve_app.testing` and pass the same suites in
`tests/contract`. Every method that does I/O has a time limit of its own and raises from the tree
in `models.errors`.
"""

from __future__ import annotations

from serve_app.ports.channels import (
    Channel,
    Received,
    UnreadablePart,
    WebhookContents,
    WebhookForm,
    WebhookRequest,
)
from serve_app.ports.clock import Clock
from serve_app.ports.console import ClusterView, ConsoleViews, FigureSamples, OperatorRepository
from serve_app.ports.conversations import ContactRepository, ConversationRepository, NoteRepository
from serve_app.ports.inference import ChatEngine, ChatModel, Engine, SpeechEngine, Transcriber
from serve_app.ports.metrics import Instrument, Metrics
from serve_app.ports.owners import (
    DocumentRepository,
    OwnerRepository,
    OwnerSecretRepository,
    TwilioAccountRepository,
)
from serve_app.ports.queue import Queue
from serve_app.ports.replies import ConsentRepository, ReplyRepository, SendLane, SendRates
from serve_app.ports.spool import SpooledJob, SpoolRepository
from serve_app.ports.tools import ToolContext

__all__ = [
    "Channel",
    "ChatEngine",
    "ChatModel",
    "Clock",
    "ClusterView",
    "ConsentRepository",
    "ConsoleViews",
    "ContactRepository",
    "ConversationRepository",
    "DocumentRepository",
    "Engine",
    "FigureSamples",
    "Instrument",
    "Metrics",
    "NoteRepository",
    "OperatorRepository",
    "OwnerRepository",
    "OwnerSecretRepository",
    "Queue",
    "Received",
    "ReplyRepository",
    "SendLane",
    "SendRates",
    "SpeechEngine",
    "SpoolRepository",
    "SpooledJob",
    "ToolContext",
    "Transcriber",
    "TwilioAccountRepository",
    "UnreadablePart",
    "WebhookContents",
    "WebhookForm",
    "WebhookRequest",
]
