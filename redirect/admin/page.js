// Keeps the page live: parts of it come rendered, as server-sent events, and are put in their places.
// A page that is paused or that nobody sees asks for nothing.
"use strict";

const MOST_ROWS = 200;
const SECONDS_TO_WAIT = 3;
const requests = document.getElementById("requests");
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
let stream = null, again = 0, isPaused = false;

function say(state, words) {
  document.body.dataset.connection = state;
  if (connection.textContent !== words) connection.textContent = words;
}

// Makes `old` what `fresh` is and leaves alone what is the same: a selection, a tooltip, the place scrolled to.
function renew(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.childNodes.length !== fresh.childNodes.length) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const children = [...fresh.childNodes];
    [...old.childNodes].forEach((child, index) => renew(child, children[index]));
  }
}

function place({ type, data }) {
  const old = document.getElementById(type);
  const fresh = old.cloneNode();
  fresh.innerHTML = data;
  renew(old, fresh);
}

function add({ data }) {
  const fresh = document.createElement("template");
  fresh.innerHTML = data;
  requests.querySelector(".none")?.remove();
  requests.prepend(...fresh.content.children);
  while (requests.rows.length > MOST_ROWS) requests.deleteRow(-1);
}

function open() {
  stream = new EventSource("events" + location.search);
  stream.onopen = () => say("live", "live");
  stream.onerror = () => {
    say("broken", "reconnecting…");
    if (stream.readyState !== EventSource.CLOSED) return; // the browser tries again
    close();
    again = setTimeout(follow, SECONDS_TO_WAIT * 1000);
  };
  for (const name of ["charts", "pools", "configuration"]) stream.addEventListener(name, place);
  stream.addEventListener("all-requests", (event) => { requests.replaceChildren(); add(event); });
  stream.addEventListener("requests", add);
}

function close() {
  clearTimeout(again);
  stream?.close();
  stream = null;
}

function follow() {
  close();
  if (isPaused) say("paused", "paused");
  else if (!document.hidden) open();
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? "Resume" : "Pause";
  follow();
});
document.addEventListener("visibilitychange", follow);
pause.hidden = false;
follow();
