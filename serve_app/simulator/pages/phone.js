/** One phone: a contact, the business it writes to, and their chat. */

import * as api from "./api.js";
import { bubble } from "./bubble.js";
import { clock, el } from "./dom.js";
import { Journeys } from "./journey.js";
import { LONGEST_MS, Recorder } from "./recorder.js";

const TYPING_MS = 25_000;
const TRY = ["What time do you open on Saturday?", "How much is a flat white?", "A table for four on Friday at 19:00, please", "Help"];
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const ACCEPTED = { image: "image/*", audio: "audio/*", file: "*/*" };

const bare = (address) => address.replace(/^whatsapp:/, "");

export class Phone {
  constructor({ me, name, to }, { onChange, onClose, askPlace }) {
    Object.assign(this, { me, name, to, onChange, onClose, askPlace });
    this.messages = new Map();
    this.heard = new Map();
    this.seen = new Set();
    this.pressed = new Set();
    this.node = document.getElementById("phone-template").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.node.querySelector(selector);
    this.parts = {
      business: find(".business"), avatar: find(".avatar"), presence: find(".presence"), chat: find(".chat"),
      me: find(".me"), to: find(".to"), text: find(".text"), send: find(".send"), record: find(".record"),
      recording: find(".recording"), clock: find(".clock"), menu: find(".menu"), attach: find(".attach"),
      file: find(".file"), problem: find(".problem"), way: find(".way"),
    };
    this.recorder = new Recorder((milliseconds) => {
      this.parts.clock.textContent = clock(milliseconds);
      if (milliseconds > LONGEST_MS) this.stopRecording({ keep: true });
    });
    this.journeys = new Journeys(find(".journeys"), {
      onHeard: (sid, transcript) => this.hear(sid, transcript),
    });
    this.wire(find);
  }

  wire(find) {
    const { parts } = this;
    parts.me.value = bare(this.me);
    parts.me.setAttribute("aria-label", "My number");
    parts.me.addEventListener("change", () => this.change({ me: `whatsapp:${bare(parts.me.value.trim())}` }));
    parts.to.addEventListener("change", () => this.change({ to: parts.to.value }));
    find(".close").addEventListener("click", () => {
      this.stopRecording({ keep: false });
      this.onClose(this);
    });
    parts.text.addEventListener("input", () => this.grow());
    parts.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.sendText();
      }
    });
    find(".composer").addEventListener("submit", (event) => { event.preventDefault(); this.sendText(); });
    parts.record.addEventListener("click", () => this.record());
    find(".discard").addEventListener("click", () => this.stopRecording({ keep: false }));
    parts.attach.addEventListener("click", () => this.toggleMenu());
    parts.menu.addEventListener("keydown", (event) => this.moveInMenu(event));
    for (const kind of Object.keys(ACCEPTED)) find(`.pick-${kind}`).addEventListener("click", () => this.pick(kind));
    find(".pick-place").addEventListener("click", () => this.sendPlace());
    parts.file.addEventListener("change", () => this.sendFile(parts.file.files[0]));
  }

  change(values) {
    Object.assign(this, values);
    this.parts.me.value = bare(this.me);
    this.messages.clear();
    this.journeys.clear();
    this.onChange(this);
  }

  /** `found`: [{name, numbers}] */
  offer(found) {
    const { to } = this.parts;
    to.replaceChildren();
    for (const business of found) {
      for (const number of business.numbers) {
        const kind = number.startsWith("whatsapp:") ? "WhatsApp" : "SMS";
        const option = el("option", { value: number }, `${business.name} · ${kind}`);
        option.dataset.name = business.name;
        to.append(option);
      }
    }
    if (![...to.options].some((option) => option.value === this.to)) {
      if (this.to && !to.options.length) to.append(el("option", { value: this.to }, this.to));
      else this.to = to.options[0]?.value || "";
    }
    to.value = this.to;
    this.title();
  }

  title() {
    const name = this.parts.to.selectedOptions[0]?.dataset.name || this.to || "No business yet";
    this.parts.business.textContent = name;
    this.parts.avatar.textContent = name.split(/\s+/).slice(0, 2).map((word) => word[0]?.toUpperCase() || "").join("");
    this.node.setAttribute("aria-label", `Phone ${bare(this.me)} writing to ${name}`);
    this.parts.chat.setAttribute("aria-label", `Chat of ${bare(this.me)} with ${name}`);
    this.rest();
  }

  rest() {
    this.parts.presence.classList.remove("typing");
    this.parts.presence.textContent = this.to.startsWith("whatsapp:") ? "WhatsApp" : "SMS";
    this.node.querySelector(".dots")?.remove();
    clearTimeout(this.typingTimer);
  }


  keep(message) {
    const number = message.direction === "inbound" ? message.to : message.from;
    if (number !== this.to) return false;
    this.messages.set(message.sid, message);
    if (message.direction === "inbound") this.journeys.follow(message);
    // An answer shows that what came before it was read.
    else this.messages.forEach((other) => { if (other.direction === "inbound" && other.cursor < message.cursor) this.seen.add(other.sid); });
    const answered = message.details?.OriginalRepliedMessageSid;
    if (answered) this.pressed.add(answered);
    return true;
  }

  receive(message) {
    const isNew = !this.messages.has(message.sid);
    if (!this.keep(message)) return;
    if (message.direction !== "inbound" && isNew) {
      this.rest();
      this.messages.forEach((other) => { if (other.direction === "inbound") this.seen.add(other.sid); });
    }
    this.draw({ toEnd: isNew });
  }

  typing({ message_sid: sid }) {
    if (!this.messages.has(sid)) return;
    this.messages.forEach((message) => { if (message.direction === "inbound") this.seen.add(message.sid); });
    this.parts.presence.textContent = "typing…";
    this.parts.presence.classList.add("typing");
    clearTimeout(this.typingTimer);
    this.typingTimer = setTimeout(() => { this.rest(); }, TYPING_MS);
    this.draw({ toEnd: true });
  }

  hear(sid, transcript) {
    if (this.heard.get(sid) === transcript) return;
    this.heard.set(sid, transcript);
    this.draw({ toEnd: false });
  }

  draw({ toEnd }) {
    const { chat, presence } = this.parts;
    const nearEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
    const sorted = [...this.messages.values()].sort((a, b) => a.cursor - b.cursor);
    // A voice note that plays isn't taken away: unchanged bubbles stay as they are.
    const before = new Map([...chat.children].map((node) => [node.dataset.key, node]));
    const wanted = [];
    let day = "";
    for (const message of sorted) {
      const at = DAY.format(new Date(message.created_at));
      if (at !== day) wanted.push([`day ${at}`, () => el("div", { class: "day" }, at)]);
      day = at;
      const facts = {
        seen: this.seen.has(message.sid), heard: this.heard.get(message.sid), pressed: this.pressed.has(message.sid),
      };
      const key = JSON.stringify([message.sid, message.status, message.webhook_status, message.settled, facts]);
      wanted.push([key, () => bubble(message, { ...facts, onPress: (from, button) => this.press(from, button) })]);
    }
    if (!wanted.length) wanted.push(["empty", () => this.empty()]);
    if (presence.classList.contains("typing")) {
      wanted.push(["dots", () => el("div", { class: "dots", "aria-hidden": "true" }, el("span"), el("span"), el("span"))]);
    }
    const nodes = wanted.map(([key, make]) => {
      const node = before.get(key) || make();
      node.dataset.key = key;
      return node;
    });
    before.forEach((node) => { if (!nodes.includes(node)) node.remove(); });
    nodes.forEach((node, index) => { if (chat.children[index] !== node) chat.insertBefore(node, chat.children[index] || null); });
    if (toEnd || nearEnd) chat.scrollTop = chat.scrollHeight;
  }

  empty() {
    return el("div", { class: "empty" }, el("p", {}, "Say something, or try:"), ...TRY.map((text) =>
      el("button", { type: "button", class: "chip", onclick: () => this.send({ body: text }) }, text)));
  }

  grow() {
    const { text, send, record } = this.parts;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
    const empty = !text.value.trim();
    send.hidden = empty;
    record.hidden = !empty;
  }

  async sendText() {
    const body = this.parts.text.value.trim();
    if (!body) return;
    this.write("");
    // What wasn't sent comes back, unless something else is being written by now.
    if (!(await this.send({ body })) && !this.parts.text.value) this.write(body);
  }

  write(words) {
    this.parts.text.value = words;
    this.grow();
  }

  async press(message, button) {
    if (this.pressed.has(message.sid)) return;
    this.mark(message, true);
    const sent = await this.send({ button: { title: button.text, id: button.payload }, reply_to: message.sid });
    if (!sent) this.mark(message, false);
  }

  mark(message, pressed) {
    if (pressed) this.pressed.add(message.sid);
    else this.pressed.delete(message.sid);
    this.draw({ toEnd: false });
  }

  async sendPlace() {
    this.toggleMenu(false);
    const place = await this.askPlace();
    if (!place) return;
    await this.send({
      location: { latitude: Number(place.latitude), longitude: Number(place.longitude), name: place.label || null },
    });
  }

  pick(kind) {
    this.toggleMenu(false);
    this.parts.file.accept = ACCEPTED[kind];
    this.parts.file.value = "";
    this.parts.file.click();
  }

  async sendFile(file, { recorded = false } = {}) {
    if (!file) return;
    const content_base64 = await api.encoded(file);
    const content_type = (file.type || "application/octet-stream").split(";")[0];
    const sound = content_type.startsWith("audio/") || content_type === "video/webm";
    await this.send({ media: [{ content_base64, content_type, recorded: recorded || (sound && content_type !== "audio/ogg") }] });
  }

  /** Whether the simulator took it; what the service made of it is told beneath the chat. */
  async send(message) {
    if (!this.to) {
      this.tell("There is no business to write to: is the service running?");
      return false;
    }
    this.tell("");
    const profile = this.me.startsWith("whatsapp:") ? { ProfileName: this.name, WaId: this.me.replace(/\D/g, "") } : {};
    try {
      const sent = await api.send({ from: this.sender(), to: this.to, ...profile, ...message });
      if (sent.webhook_status !== 200) this.tell(`The service answered ${sent.webhook_status ?? "nothing"} to the webhook.`);
      return true;
    } catch (error) {
      this.tell(`Not sent: ${error.message}.`);
      return false;
    }
  }

  /** A contact writes SMS as the number that it has on WhatsApp. */
  sender() {
    return this.to.startsWith("whatsapp:") ? this.me : bare(this.me);
  }

  async record() {
    if (this.recorder.live) return this.stopRecording({ keep: true });
    this.tell("");
    try {
      if (await this.recorder.start()) this.showRecording(true);
    } catch (error) {
      this.tell(`The microphone can't be used: ${error.message || error.name}.`);
    }
  }

  async stopRecording({ keep }) {
    const recording = await this.recorder.stop({ keep });
    this.showRecording(false);
    if (recording) await this.sendFile(recording, { recorded: true });
  }

  showRecording(live) {
    const { recording, text, attach, record } = this.parts;
    recording.hidden = !live;
    text.hidden = live;
    attach.hidden = live;
    record.classList.toggle("live", live);
    record.title = live ? "Send the voice note" : "Record a voice note";
    record.querySelector(".sr").textContent = record.title;
    record.querySelector("use").setAttribute("href", `/phone/icons.svg#${live ? "send" : "mic"}`);
    this.parts.clock.textContent = "0:00";
  }

  toggleMenu(open = this.parts.menu.hidden) {
    const { menu, attach } = this.parts;
    menu.hidden = !open;
    attach.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector("button").focus();
  }

  moveInMenu(event) {
    const items = [...this.parts.menu.querySelectorAll("button")];
    const at = items.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      items[(at + step + items.length) % items.length].focus();
    } else if (event.key === "Escape") {
      this.toggleMenu(false);
      this.parts.attach.focus();
    } else if (event.key === "Tab") {
      this.toggleMenu(false);
    }
  }

  showWay(shown) {
    this.parts.way.hidden = !shown;
    this.journeys.show(shown);
  }

  tell(words) {
    this.parts.problem.textContent = words;
  }
}
