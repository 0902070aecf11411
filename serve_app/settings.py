"""Typed settings: what `config.yaml`'s `args` may hold, and what the environment holds.

Durations are seconds (`_s`), sizes are bytes (`_bytes`). Unknown keys are an error that names them.
Secrets come from the environment only (`EnvironmentSettings`), never from `config.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""Where the demo models and the default data directory are."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IngressSettings(Section):
    """The webhooks' entry."""

    max_body_bytes: int = Field(default=262_144, ge=1024)
    """Larger webhook bodies are answered 413."""
    publish_timeout_s: float = Field(default=0.5, gt=0)
    """How long a webhook waits for Redis before it goes to the Postgres spool. The first that waited in
    vain spares the others: they are spooled at once until Redis answers again."""
    spool_timeout_s: float = Field(default=2.0, gt=0)
    """How long a webhook waits for Postgres before it is answered 503."""
    watch_interval_s: float = Field(default=1.0, gt=0)
    """Between two looks at both stores, beside the webhooks."""
    max_backlog: int = Field(default=1_000_000, ge=1)
    """Conversations with a waiting turn above which new webhooks are answered 503; also webhooks in the
    Postgres spool."""
    account_cache_s: float = Field(default=30.0, ge=0)
    """How long an account's token is kept in memory; an older copy is used while Postgres is away."""


class QueueSettings(Section):
    """Mailboxes over Redis streams; see docs/queue.md."""

    prefix: str = "recado"
    """First part of every key, so that several installations can share a server."""
    cluster: bool = False
    """Whether RECADO_REDIS_URL is a node of a Redis Cluster with several nodes."""
    shards: int = Field(default=1, ge=1, le=256)
    """Hash slots a queue is spread over; more than one is of use on Redis Cluster only."""
    lease_s: float = Field(default=30.0, gt=0)
    """A turn that shows no heartbeat for this long is given to another consumer."""
    max_attempts: int = Field(default=6, ge=1)
    """Failed attempts after which a job becomes a dead letter."""
    max_crashes: int = Field(default=3, ge=1)
    """Deliveries that ended with the consumer's death after which a job becomes a dead letter."""
    backoff_base_s: float = Field(default=1.0, gt=0)
    """Seconds; see `backoff_cap_s`."""
    backoff_cap_s: float = Field(default=300.0, gt=0)
    """The n-th retry waits uniform(0, min(cap, base * 2**n))."""
    max_turn_jobs: int = Field(default=20, ge=1)
    """Messages that one turn may take from a mailbox."""
    debounce_max_s: float = Field(default=10.0, ge=0)
    """The longest that a burst can put off its turn."""
    dedupe_ttl_s: float = Field(default=259_200.0, gt=0)
    """How long an accepted message id is remembered."""
    max_history: int = Field(default=20, ge=1)
    """Failed attempts kept per job, the latest ones."""
    max_traceback_chars: int = Field(default=4_000, ge=0)
    """Characters of a failed attempt's traceback that are kept, its end; 0 keeps none."""
    command_timeout_s: float = Field(default=5.0, gt=0)
    """Limit of one Redis command; blocking reads have their block time on top."""
    connect_timeout_s: float = Field(default=2.0, gt=0)
    """Limit of opening a connection to Redis."""
    max_connections: int = Field(default=32, ge=2)
    """Connections to Redis that one process opens at most; who finds none free waits for one."""


class StoreSettings(Section):
    """Postgres."""

    pool_min: int = Field(default=1, ge=0)
    """Connections to Postgres that one process keeps open."""
    pool_max: int = Field(default=8, ge=1)
    """Connections that it opens at most."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Limit of opening a connection."""
    command_timeout_s: float = Field(default=10.0, gt=0)
    """Limit of one statement."""
    acquire_timeout_s: float = Field(default=5.0, gt=0)
    """How long a caller waits for a free connection."""
    migrate_timeout_s: float = Field(default=60.0, gt=0)
    """How long a start waits for another process that is migrating."""


class WorkerSettings(Section):
    """The loop that processes conversation turns."""

    concurrency: int = Field(default=16, ge=1)
    """Turns that one replica processes at the same time."""
    turn_timeout_s: float = Field(default=120.0, gt=0)
    """A turn that takes longer counts as a failed attempt."""
    engine_wait_s: float = Field(default=900.0, ge=0)
    """How long a turn waits for a model that is starting, full or away before its tries count as attempts."""
    block_s: float = Field(default=2.0, gt=0)
    """How long a read of an empty queue waits."""
    scan_interval_s: float = Field(default=1.0, gt=0)
    """Between two looks for turns whose consumer died."""
    promote_interval_s: float = Field(default=0.2, gt=0)
    """Between two looks for delayed turns that are due."""
    drain_s: float = Field(default=20.0, ge=0)
    """On shutdown: how long running turns may finish before they are handed back."""


class SenderSettings(Section):
    """The loop that sends replies, and the one that applies delivery reports."""

    concurrency: int = Field(default=16, ge=1)
    """Conversations that one replica sends to at the same time, and as many whose reports it applies."""
    max_attempts: int = Field(default=12, ge=1)
    """Failed attempts to send a reply after which it becomes a dead letter."""
    resolve_after_s: float = Field(default=10.0, ge=0)
    """How long a doubtful send waits for its delivery report before the provider's list is read."""
    resolve_attempts: int = Field(default=5, ge=1)
    """Looks at a list that can't be read before a doubtful send is parked for a person."""
    resend_when_absent: bool = True
    """Send again when the provider's list, read after `resolve_after_s`, doesn't hold the message. False
    parks it instead."""
    spool_interval_s: float = Field(default=1.0, gt=0)
    """Between two looks for webhooks that were spooled while Redis was away."""
    sweep_interval_s: float = Field(default=10.0, gt=0)
    """Between two looks for replies that were stored but never published."""
    sweep_older_than_s: float = Field(default=30.0, gt=0)
    """How long a reply must have been unsent before such a look takes it for forgotten."""
    number_parts: bool = False
    """Put (1/3) in front of the parts of a long reply."""
    whatsapp_per_second: float = Field(default=80.0, gt=0)
    """Messages a second from one WhatsApp sender; as many may go at once. An account's own rates are in its
    owner's file."""
    sms_per_second: float = Field(default=10.0, gt=0)
    """The same of an SMS sender, in segments."""
    recipient_per_second: float = Field(default=0.2, gt=0)
    """Messages a second to one contact, once `recipient_burst` are used up: WhatsApp takes one in 6 s."""
    recipient_burst: int = Field(default=45, ge=1)
    """Messages that one contact may get at once before `recipient_per_second` counts."""
    rate_wait_s: float = Field(default=0.5, ge=0)
    """Shorter waits for a rate are sat out; for longer ones the conversation is put off."""
    slow_down_pause_s: float = Field(default=8.0, gt=0)
    """The longest pause of a sender that the provider finds too fast, where it doesn't ask for a longer one.
    The first is a second, and each further one twice as long."""
    slow_down_recovery_s: float = Field(default=30.0, gt=0)
    """How long such a sender goes at half its rate."""
    account_pause_s: float = Field(default=300.0, gt=0)
    """How long nothing is sent for an account whose credentials the provider refused."""
    retry_failed_after_s: float = Field(default=60.0, ge=0)
    """When a message that was accepted and then failed for a reason that passes is sent once more."""
    retry_unreachable_after_s: float = Field(default=7_200.0, ge=0)
    """The same where the contact couldn't be reached."""


class ConversationSettings(Section):
    """How turns are answered."""

    debounce_s: float = Field(default=0.5, ge=0)
    """How long a conversation must be quiet before its turn starts, so that a burst gets one reply."""
    history_messages: int = Field(default=30, ge=0)
    """Earlier messages offered to the model."""
    max_prompt_tokens: int = Field(default=1_500, ge=64)
    """Token budget of the prompt; the oldest messages are left out first."""
    knowledge_passages: int = Field(default=3, ge=0)
    """Passages of the owner's documents offered to the model, where any fit what was asked."""
    max_steps: int = Field(default=6, ge=1)
    """Calls of the model per turn, tool calls included."""
    max_turn_tokens: int = Field(default=32_000, ge=1)
    """Tokens, prompts included, after which a turn doesn't ask the model again."""
    tool_modules: tuple[str, ...] = ()
    """Python modules with tools of your own, importable wherever the service and its commands run. Each has
    `TOOLS`, a list of async functions as in `serve_app/conversation/business_tools.py`."""
    tool_timeout_s: float = Field(default=10.0, gt=0)
    """Limit of one call of a tool that has none of its own."""
    max_reply_chars: int = Field(default=8_000, ge=1)
    """Longer replies are cut at a word."""
    typing_indicator: bool = True
    """Show the contact that an answer is being written, where the channel can."""
    typing_renew_s: float = Field(default=20.0, gt=0)
    """How often it is shown again while a turn runs: WhatsApp shows it for 25 s at most."""
    media_retention_days: float = Field(default=30.0, ge=0)
    """How long messages refer to their files, which stay with the provider; then the references go."""
    media_retention_interval_s: float = Field(default=3_600.0, gt=0)
    """Between two looks for references that have expired."""
    model_answers_structured: bool = False
    """Let the model answer a location or a contact card that came without words. False asks the contact what
    to do with it, and the model reads both: a small model makes things up otherwise."""


class OutsideSettings(Section):
    """What owners' HTTP tools and notes may reach."""

    hosts: tuple[str, ...] = ()
    """Hosts that may be asked over HTTPS; `*.example.com` is all below one. None by default."""
    local_origins: tuple[str, ...] = ()
    """Origins (`http://127.0.0.1:9000`) exempt from HTTPS and from the refusal of private addresses: for
    a service beside this one."""


class NoteSettings(Section):
    """Notes to owners' people about conversations that they should take."""

    interval_s: float = Field(default=1.0, gt=0)
    """Between two looks for notes that are due."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Limit of one request to an owner's webhook."""
    lease_s: float = Field(default=300.0, gt=0)
    """A note that was taken and neither sent nor put off is due again after this long."""
    max_attempts: int = Field(default=12, ge=1)
    """Failed attempts after which a note is given up."""
    backoff_base_s: float = Field(default=5.0, gt=0)
    """Seconds; see `backoff_cap_s`."""
    backoff_cap_s: float = Field(default=3_600.0, gt=0)
    """The n-th retry waits between half of min(cap, base * 2**n) and all of it."""


class PrivacySettings(Section):
    """How what is older than an owner keeps it is deleted; see `retention_days` of the owner."""

    interval_s: float = Field(default=300.0, gt=0)
    """Between two looks."""
    batch: int = Field(default=500, ge=1)
    """Turns of an owner that one transaction deletes."""


class SpeechSettings(Section):
    """The transcriber."""

    engine: Literal["auto", "faster-whisper", "transformers"] = "auto"
    """`faster-whisper` runs on CTranslate2 (on a GPU it needs CUDA 12's cuBLAS), `transformers` on torch;
    `auto` takes the first that the replica's machine and the model's folder allow."""
    model: str = "demo"
    """`demo`, a size (`small`, `large-v3-turbo`), a folder, or a name on the model hub; in CTranslate2's
    form for engine `faster-whisper`, in transformers' form for engine `transformers`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` asks the cluster."""
    gpus: float = Field(default=1.0, gt=0)
    """GPU share of a replica, where `device` comes out as cuda."""
    cpus: float = Field(default=0.5, ge=0)
    """Cores that Ray reserves for a replica."""
    compute_type: str = "auto"
    """CTranslate2's names; `auto` is float16 on GPU, and on CPU int8 (torch: float32). Engine
    `transformers` knows float32, float16 and bfloat16."""
    cpu_threads: int = Field(default=0, ge=0)
    """Threads of one batch; 0 is one per core, or a single one for a very small model."""
    language: str | None = None
    """ISO 639-1; None detects it."""
    prompt: str | None = None
    """Text as it might come before a recording: spelling and style follow it."""
    hot_words: tuple[str, ...] = ()
    """Names and terms that are likely to be said."""
    translate: bool = False
    """Into English. Not every model was trained for it: large-v3-turbo wasn't."""
    word_timestamps: bool = False
    """When each word was said; costs another pass over each window."""
    max_batch_size: int = Field(default=8, ge=1)
    """Recordings, or 30 s windows of them, that go through the model together."""
    batch_wait_s: float = Field(default=0.02, ge=0)
    """How long a batch that isn't full waits for company."""
    batches_in_flight: int = Field(default=2, ge=1)
    """Batches that are worked on at the same time."""
    decode_threads: int = Field(default=2, ge=1)
    """Threads that decode recordings, beside the model."""
    max_waiting: int = Field(default=256, ge=1)
    """Requests above this are refused as overload, to be tried later."""
    max_audio_seconds: float = Field(default=600.0, gt=0)
    """Longer recordings aren't transcribed; who sent one is asked for a shorter one."""
    timeout_s: float = Field(default=90.0, gt=0)
    """Limit of one transcription, waiting included."""
    vad: bool = True
    """Leave out passages without speech before transcribing."""
    short_windows_s: tuple[float, ...] = ()
    """Encoder windows below 30 s, for a model that was trained for them: a clip gets the shortest that holds
    it. A stock Whisper loses its accuracy then."""


class ChatSettings(Section):
    """The chat model."""

    engine: Literal["transformers", "openai"] = "transformers"
    """`transformers` runs the model here; `openai` asks a server that speaks OpenAI's protocol."""
    model: str = "demo"
    """`demo`, a folder, or a name on the model hub; with engine `openai` the name the server knows."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` asks the cluster."""
    gpus: float = Field(default=1.0, gt=0)
    """GPU share of a replica, where `device` comes out as cuda."""
    cpus: float = Field(default=0.5, ge=0)
    """Cores that Ray reserves for a replica."""
    dtype: str = "auto"
    """Torch's; `auto` is float32 on CPU and as stored on GPU."""
    cpu_threads: int = Field(default=0, ge=0)
    """Threads of one batch; 0 is one per core, or a single one for a very small model."""
    base_url: str | None = None
    """Engine `openai`: the server's address up to and including `/v1`. Its key is RECADO_OPENAI_API_KEY."""
    max_batch_size: int = Field(default=16, ge=1)
    """Conversations that the model writes to at the same time."""
    batch_wait_s: float = Field(default=0.01, ge=0)
    """How long a batch that isn't full waits for company."""
    batching: Literal["auto", "dynamic", "continuous"] = "auto"
    """Engine `transformers`: `dynamic` batches end together, `continuous` ones take and release requests
    between steps; `auto` is continuous on CUDA. Both reuse equal beginnings of prompts."""
    prefix_mb: int = Field(default=512, ge=0)
    """Dynamic batches: memory for beginnings of prompts that needn't be computed again (instructions, tools,
    the conversation so far), in MiB; 0 computes every prompt anew."""
    sampling: bool = True
    """Continuous batching: false answers greedily whatever an assistant's temperature, which saves sorting
    the vocabulary at each step."""
    cache_memory_share: float | None = Field(default=None, gt=0, lt=1)
    """Continuous batching: how much of the free GPU memory holds keys and values; None is the library's
    choice, 0.8 to 0.9."""
    max_waiting: int = Field(default=512, ge=1)
    """Requests above this are refused as overload, to be tried later."""
    max_tokens: int = Field(default=256, ge=1)
    """The longest reply in tokens, whatever an assistant allows."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Limit of one reply, waiting included; what is being written ends then."""
    retries: int = Field(default=2, ge=0)
    """Engine `openai`: repetitions after 408, 409, 425, 429, 5xx and lost connections, within
    `timeout_s`."""
    retry_base_s: float = Field(default=0.5, gt=0)
    """The n-th repetition waits up to base * 2**n, and no less than the server's Retry-After."""


class ChannelSettings(Section):
    """What every channel has: limits for its files, and where they may come from."""

    media_hosts: tuple[str, ...] = ()
    """Hosts that media may be asked from, with credentials."""
    media_redirect_hosts: tuple[str, ...] = ()
    """Hosts (and their subdomains) that media may be redirected to, without credentials."""
    max_media_bytes: int = Field(default=16_777_216, ge=1)
    """Larger files aren't read."""
    media_timeout_s: float = Field(default=20.0, gt=0)
    """Limit of fetching one file, redirects included."""
    media_not_ready_retries: int = Field(default=4, ge=0)
    """Looks at a file that answers 404 at first, 0.25 s apart and doubling."""
    request_timeout_s: float = Field(default=15.0, gt=0)
    """Limit of one request to the provider. A send that takes longer is in doubt."""
    window_s: float = Field(default=86_400.0, gt=0)
    """How long after a contact's last message WhatsApp takes a free answer."""
    local_origins: tuple[str, ...] = ()
    """Origins (`http://127.0.0.1:8001`) exempt from HTTPS and from the refusal of private addresses: the
    simulator's. Set by `recado up`, never in production."""


class TwilioSettings(ChannelSettings):
    """The Twilio channel."""

    api_url: str = "https://api.twilio.com"
    """Twilio's REST API."""
    messaging_url: str = "https://messaging.twilio.com"
    """Twilio's Messaging API."""
    media_hosts: tuple[str, ...] = ("api.twilio.com",)
    """Where Twilio's media are asked for."""
    media_redirect_hosts: tuple[str, ...] = ("twiliocdn.com", "s3-external-1.amazonaws.com")
    """Where Twilio keeps them."""
    max_listed: int = Field(default=20_000, ge=1)
    """Messages of one account that `recado reconcile` reads, those that were sent included."""


class WhatsAppCloudSettings(ChannelSettings):
    """Meta's WhatsApp Cloud API."""

    api_url: str = "https://graph.facebook.com"
    """Meta's Graph API."""
    api_version: str = Field(default="v23.0", pattern=r"^v\d+\.\d+$")
    """The Graph API's version, the first part of every path."""
    media_hosts: tuple[str, ...] = ("graph.facebook.com", "lookaside.fbsbx.com")
    """Where Meta's media are announced and fetched."""
    media_redirect_hosts: tuple[str, ...] = ("fbcdn.net", "whatsapp.net")
    """Where Meta keeps them."""
    link_previews: bool = False
    """Let WhatsApp show a preview of the first link in a reply."""


class ConsoleSettings(Section):
    """The operators' pages at `/console`."""

    enabled: Literal["auto", "on", "off"] = "auto"
    """`auto` is on where RECADO_CONSOLE_TOKEN is set, and where the service both listens and is reached
    at a loopback address only (`recado up`), with a token that is generated."""
    session_hours: float = Field(default=12.0, gt=0)
    """How long a session lasts at most."""
    idle_minutes: float = Field(default=120.0, gt=0)
    """A session that isn't used for this long ends."""
    max_sign_in_failures: int = Field(default=8, ge=1)
    """Failed sign-ins under one name, within `sign_in_window_s`, after which further ones are refused."""
    sign_in_window_s: float = Field(default=300.0, gt=0)
    """How long a failed sign-in counts."""
    sample_interval_s: float = Field(default=10.0, gt=0)
    """Between two times that a replica tells how many webhooks it answered, and how fast."""


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below it aren't written."""
    format: Literal["auto", "json", "pretty"] = "auto"
    """`auto` is pretty on a terminal, JSON elsewhere."""


class AppSettings(Section):
    """`args` of the application in `config.yaml`."""

    public_url: str | None = None
    """The address Twilio calls, up to the path (`https://bot.example.com`): signatures are made over it.
    RECADO_PUBLIC_URL wins over it; without either, it is what `recado up` listens on."""
    ingress: IngressSettings = IngressSettings()
    queue: QueueSettings = QueueSettings()
    store: StoreSettings = StoreSettings()
    worker: WorkerSettings = WorkerSettings()
    sender: SenderSettings = SenderSettings()
    conversation: ConversationSettings = ConversationSettings()
    outside: OutsideSettings = OutsideSettings()
    notes: NoteSettings = NoteSettings()
    privacy: PrivacySettings = PrivacySettings()
    speech: SpeechSettings = SpeechSettings()
    chat: ChatSettings = ChatSettings()
    twilio: TwilioSettings = TwilioSettings()
    whatsapp_cloud: WhatsAppCloudSettings = WhatsAppCloudSettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()


class EnvironmentSettings(BaseSettings):
    """What differs by machine, and the secrets: `RECADO_*` variables."""

    model_config = SettingsConfigDict(env_prefix="RECADO_", extra="ignore", frozen=True)

    data_dir: Path = PROJECT_ROOT / ".recado"
    """Where the embedded stores, logs and generated secrets live."""
    redis_url: SecretStr | None = None
    """`redis://`, `rediss://` or `unix://`; without it an embedded Valkey is used."""
    database_url: SecretStr | None = None
    """`postgresql://…`; without it an embedded Postgres is used."""
    secret_key: SecretStr | None = None
    """Fernet keys, separated by commas, newest first: they encrypt account tokens at rest."""
    public_url: str | None = None
    """The address that providers call, up to the path; see `AppSettings.public_url`."""
    listen_host: str | None = None
    """The address that the service's port is bound to; set by `recado up`. None: nobody said, so it may be
    any."""
    console_token: SecretStr | None = None
    """Signs in to the console, with every right."""
    openai_api_key: SecretStr | None = None
    """The key of the server that engine `openai` asks; None sends none."""
    whatsapp_verify_token: SecretStr | None = None
    """What Meta's App Dashboard is given as the webhook's verify token."""
    otlp_endpoint: str | None = None
    """Where traces go: a collector's OTLP/HTTP address (`http://127.0.0.1:4318`). None: there are none."""
    trace_sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces that are kept; whole traces, not single spans."""
    simulator: bool = True
    """Whether embedded stores come with the stand-in for Twilio; false for a real number on one machine."""
    simulator_url: str | None = None
    """Where the stand-in for Twilio listens; set by `recado up`, never in production."""
