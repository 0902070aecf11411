/** The page: several phones side by side, one stream of events for all of them. */

import * as api from "./api.js";
import { Phone } from "./phone.js";

const KEPT = "recado-phones";
const PEOPLE = ["Ana", "Bruno", "Carla", "Duarte", "Elena", "Filipe"];

const shelf = document.getElementById("phones");
const link = document.getElementById("link");
const showWay = document.getElementById("show-way");
const phones = [];
let known = [];
let source = null;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    if (Array.isArray(kept?.phones) && kept.phones.length) return kept;
  } catch { /* it was damaged: start anew */ }
  return { phones: [{ me: "whatsapp:+15550100001", name: PEOPLE[0], to: "" }], way: false };
}

function keep() {
  localStorage.setItem(KEPT, JSON.stringify({
    phones: phones.map(({ me, name, to }) => ({ me, name, to })), way: showWay.checked,
  }));
}

function connect() {
  source?.close();
  if (!phones.length) return;
  const contacts = new Set(phones.flatMap((phone) => [phone.me, phone.sender()]));
  source = api.listen([...contacts], {
    onMessage: (message) => {
      const contact = message.direction === "inbound" ? message.from : message.to;
      phones.filter((phone) => phone.sender() === contact).forEach((phone) => phone.receive(message));
    },
    onTyping: (event) => phones.filter((phone) => phone.sender() === event.contact).forEach((phone) => phone.typing(event)),
    onReset: () => phones.forEach(refresh),
    onState: (live) => {
      link.textContent = live ? "live" : "the simulator is away";
      link.toggleAttribute("data-live", live);
    },
  });
}

async function refresh(phone) {
  const asked = phone.sender();
  try {
    phone.messages.clear();
    const found = await api.messages(asked);
    // A slow answer is no business of another number's chat.
    if (phone.sender() !== asked) return;
    for (const message of found) phone.keep(message);
    phone.draw({ toEnd: true });
    phone.tell("");
  } catch (error) {
    phone.tell(`The messages can't be read: ${error.message}.`);
  }
}

function add(facts) {
  const phone = new Phone(facts, {
    onChange: (changed) => { changed.title(); keep(); connect(); },
    onClose: (closed) => {
      phones.splice(phones.indexOf(closed), 1);
      closed.node.remove();
      keep();
      connect();
    },
    askPlace,
  });
  phone.offer(known);
  phone.showWay(showWay.checked);
  phone.draw({ toEnd: true });
  phones.push(phone);
  shelf.append(phone.node);
  return phone;
}

function askPlace() {
  const dialog = document.getElementById("place");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const form = new FormData(dialog.querySelector("form"));
      resolve(dialog.returnValue === "send" ? Object.fromEntries(form) : null);
    }, { once: true });
  });
}

async function meetBusinesses() {
  for (;;) {
    try {
      known = (await api.businesses()).businesses;
      if (known.length) break;
    } catch { /* asked again */ }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  phones.forEach((phone) => phone.offer(known));
  keep();
  connect();
}

document.getElementById("add-phone").addEventListener("click", () => {
  const used = new Set(phones.map((phone) => phone.me));
  const numbered = (number) => `whatsapp:+155501${String(number).padStart(5, "0")}`;
  let number = 1;
  while (used.has(numbered(number))) number += 1;
  const me = numbered(number);
  const phone = add({ me, name: PEOPLE[(number - 1) % PEOPLE.length], to: phones[0]?.to || "" });
  keep();
  connect();
  phone.parts.text.focus();
});

showWay.addEventListener("change", () => {
  phones.forEach((phone) => phone.showWay(showWay.checked));
  keep();
});

document.addEventListener("click", (event) => {
  for (const phone of phones) {
    if (!phone.parts.menu.hidden && !event.target.closest(".menu, .attach")) phone.toggleMenu(false);
  }
});

const kept = read();
showWay.checked = Boolean(kept.way);
kept.phones.forEach(add);
connect();
meetBusinesses();
