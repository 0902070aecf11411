/** Beside the chat: each message's way, every step with its time. */

import { journey } from "./api.js";
import { duration, el, svg } from "./dom.js";

const AGAIN_MS = 350;
const LONGEST_MS = 180_000;
const SHOWN = 12;
const NAMES = {
  webhook: "webhook", queued: "in queue", record: "stored", resolve: "business",
  transcribe: "transcribed", answer: "answered", media: "file fetched",
  outbound: "outbound queue", handover: "to Twilio",
};

export class Journeys {
  /** `onHeard(sid, transcript)` and `onSeen(sid)` let the chat show what became of a message. */
  constructor(list, { onHeard, onSeen }) {
    this.list = list;
    this.onHeard = onHeard;
    this.onSeen = onSeen;
    this.followed = new Map();
    this.shown = false;
  }

  clear() {
    this.followed.clear();
    this.list.replaceChildren();
  }

  show(shown) {
    this.shown = shown;
    if (shown) this.followed.forEach((entry, sid) => { if (!entry.running) this.run(sid, entry); });
  }

  follow(message) {
    if (this.followed.has(message.sid)) return;
    const item = el("li", { class: "journey" });
    const entry = { item, title: titleOf(message), running: false, done: false };
    this.followed.set(message.sid, entry);
    this.list.prepend(item);
    while (this.list.children.length > SHOWN) {
      const last = this.list.lastElementChild;
      last.remove();
      this.followed.forEach((old, sid) => { if (old.item === last) this.followed.delete(sid); });
    }
    const fresh = Date.now() - new Date(message.created_at).getTime() < LONGEST_MS;
    if (this.shown || (fresh && message.files?.length)) this.run(message.sid, entry);
  }

  async run(sid, entry) {
    if (entry.done) return;
    entry.running = true;
    const began = Date.now();
    while (this.followed.get(sid) === entry && Date.now() - began < LONGEST_MS) {
      let found = null;
      try {
        found = await journey(sid);
      } catch { /* asked again: the service or the simulator may be restarting */ }
      if (found) {
        this.draw(entry, found);
        if (found.transcript) this.onHeard(sid, found.transcript);
        if (found.done) { entry.done = true; break; }
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (!this.shown && found?.transcript) break;
    }
    entry.running = false;
  }

  draw(entry, found) {
    const marks = found.replies.flatMap((reply) => reply.marks);
    const steps = [...found.steps, ...found.replies.flatMap((reply) => reply.steps)];
    const rows = [
      ...steps.map((step) => ({
        name: NAMES[step.name] || step.name, note: step.note, at: step.at_ms, ms: step.ms, kind: step.name,
      })),
      ...marks.map((mark) => ({ name: `reply ${mark.name}`, at: mark.at_ms ?? 0, ms: null, kind: "mark" })),
    ].sort((one, other) => one.at - other.at);
    const end = Math.max(1, ...rows.map((row) => row.at + (row.ms || 0)));
    const [words, bad] = stateOf(found);
    entry.item.replaceChildren(
      el("h4", {}, el("span", {}, entry.title), el("span", { class: bad ? "state bad" : "state" }, words)),
      el("ol", { class: "steps" }, ...rows.map((row) => stepRow(row, end))),
    );
    if (found.error && !found.done) entry.item.append(el("p", { class: "error" }, found.error));
    if (found.correlation_id) entry.item.append(el("p", { class: "id" }, `correlation id ${found.correlation_id}`));
  }
}

function stepRow(row, end) {
  const left = (row.at / end) * 100;
  const width = Math.max(row.ms ? (row.ms / end) * 100 : 0, 1.5);
  const bar = svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 8, rx: 1 }),
    svg("rect", { class: "part", x: Math.min(left, 98.5), width, height: 8 }));
  const time = row.ms === null ? `at ${duration(row.at)}` : duration(row.ms);
  return el("li", { class: row.kind, title: row.note || null }, el("span", { class: "name" }, row.name), bar, el("span", { class: "ms" }, time));
}

function stateOf(found) {
  if (found.state === "dead") return ["dead letter", true];
  if (!found.known) return [found.webhook_status ? `webhook ${found.webhook_status}` : "…", found.webhook_status >= 300];
  if (found.done) return [found.replies.length ? "answered" : "no reply", false];
  if (found.replies.length) return ["replying", false];
  if (found.attempts) return [`${found.state}, attempt ${found.attempts + 1}`, true];
  return [{ delayed: "waiting for more", waiting: "in queue", running: "being answered" }[found.state] || found.state || "…", false];
}

function titleOf(message) {
  if (message.body) return message.body;
  const kind = message.files?.[0]?.content_type || "";
  if (kind.startsWith("audio/")) return "Voice note";
  if (kind.startsWith("image/")) return "Picture";
  return message.details?.Latitude ? "Location" : "Message";
}
