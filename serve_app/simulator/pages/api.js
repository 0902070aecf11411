/** The simulator's own interface: what the command `recado say` uses too. */

async function ask(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) {
    const detail = await response.json().catch(() => ({}));
    throw new Error(detail.detail ? String(detail.detail) : `the simulator answered ${response.status}`);
  }
  return response.json();
}

export const businesses = () => ask("/simulator/businesses");

export const messages = (contact) =>
  ask(`/simulator/messages?contact=${encodeURIComponent(contact)}`).then((page) => page.messages);

export const journey = (sid) => ask(`/simulator/messages/${encodeURIComponent(sid)}/journey`);

export const send = (message) =>
  ask("/simulator/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(message),
  });

export const fileUrl = (sid) => `/simulated-cdn/${encodeURIComponent(sid)}`;

export async function encoded(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

/** One stream for all phones; it reconnects by itself. */
export function listen(contacts, { onMessage, onTyping, onReset, onState }) {
  const query = contacts.map((contact) => `contact=${encodeURIComponent(contact)}`).join("&");
  const source = new EventSource(`/simulator/events?${query}`);
  source.addEventListener("message", (event) => onMessage(JSON.parse(event.data)));
  source.addEventListener("typing", (event) => onTyping(JSON.parse(event.data)));
  source.addEventListener("lagged", () => onReset());
  source.onopen = () => { onState(true); onReset(); };
  source.onerror = () => onState(false);
  return source;
}
