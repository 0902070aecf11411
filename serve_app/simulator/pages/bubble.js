/** One message as the contact's phone shows it. */

import { fileUrl } from "./api.js";
import { el, icon } from "./dom.js";

const TIME = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });

/** Mine: one tick while the provider has it, two once the service took its webhook, blue once the assistant
 * took it up. */
function ticks(message, seen) {
  if (message.webhook_status === null) {
    return message.settled ? ["warn", "the webhook was not answered", "bad"] : ["one", "sent", ""];
  }
  if (message.webhook_status < 200 || message.webhook_status >= 300) {
    return ["warn", `the webhook was answered ${message.webhook_status}`, "bad"];
  }
  return seen ? ["two", "read", "read"] : ["two", "delivered", ""];
}

const OUTBOUND = {
  queued: "queued", accepted: "accepted", sending: "being sent", sent: "sent",
  delivered: "delivered", read: "read", failed: "failed", undelivered: "not delivered",
};

export function bubble(message, { seen = false, heard = null, onPress = null, pressed = false } = {}) {
  const mine = message.direction === "inbound";
  const details = message.details || {};
  const node = el("div", { class: mine ? "bubble mine" : "bubble", "data-sid": message.sid });
  for (const file of message.files || []) node.append(attachment(file, mine));
  if (details.Latitude) node.append(place(details));
  if (message.body) node.append(el("div", { class: "body" }, message.body));
  if (heard) node.append(el("div", { class: "heard" }, `“${heard}”`));
  if (message.buttons?.length) {
    node.append(el("div", { class: "buttons" }, ...message.buttons.map((button) =>
      el("button", { type: "button", disabled: pressed, onclick: () => onPress?.(message, button) }, button.text))));
  }
  const time = TIME.format(new Date(message.created_at));
  const meta = el("div", { class: "meta" }, time);
  if (mine) {
    const [name, words, kind] = ticks(message, seen);
    if (kind) meta.classList.add(kind);
    meta.append(icon(name, "tick"), el("span", { class: "sr" }, words));
    meta.title = words;
  } else {
    const words = OUTBOUND[message.status] || message.status;
    const name = { sent: "one", delivered: "two", read: "two", failed: "warn", undelivered: "warn" }[message.status] || "clock";
    if (message.status === "read") meta.classList.add("read");
    if (name === "warn") meta.classList.add("bad");
    meta.append(icon(name, "tick"), el("span", { class: "sr" }, words));
    meta.title = message.error_code ? `${words}: ${message.error_code}` : words;
  }
  node.append(meta);
  return node;
}

function attachment(file, mine) {
  const url = fileUrl(file.sid);
  const from = mine ? "you sent" : "you got";
  if (file.content_type.startsWith("audio/")) {
    return el("audio", { controls: true, src: url, preload: "metadata", "aria-label": `Voice note that ${from}` });
  }
  if (file.content_type.startsWith("image/")) return el("img", { src: url, alt: `Picture that ${from}` });
  return el("a", { class: "doc", href: url, download: true }, icon("file"), file.content_type);
}

function place(details) {
  return el("div", { class: "place" }, icon("pin"),
    `${details.Label || details.Address || "Location"} (${details.Latitude}, ${details.Longitude})`);
}
