// Keeps the page live: sections come rendered, as server-sent events, and replace those on the page.
// A page that is paused or hidden has no event stream.
"use strict";

const MAX_ROWS = 2 * 200; // a request has one more, with all keys of its record
const RECONNECT_SECONDS = 3;
const SILENCE_SECONDS = 12; // the server sends a beat every 5 s
const requests = document.getElementById("requests");
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
let stream = null, retry = 0, silence = 0, isPaused = false;

function showConnection(state, words) {
  document.body.dataset.connection = state;
  if (connection.textContent !== words) connection.textContent = words;
}

// Changes `old` into `fresh`, and leaves alone what is the same: a selection, a tooltip, the scroll position.
function update(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.childNodes.length !== fresh.childNodes.length) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const children = [...fresh.childNodes];
    [...old.childNodes].forEach((child, index) => update(child, children[index]));
  }
}

// Called at each event: the page is live while they come, not as long as a connection is open.
function heard() {
  clearTimeout(silence);
  showConnection("live", "live");
  silence = setTimeout(() => {
    showConnection("broken", "nothing comes, reconnecting…");
    open();
  }, SILENCE_SECONDS * 1000);
}

// Adds the reader's own time to each, where that is not UTC.
function localize(parent) {
  for (const time of parent.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (!date.getTimezoneOffset()) continue;
    time.dataset.local = date.toLocaleTimeString();
    time.title += ` · ${date.toLocaleString()} here`;
  }
}

function replaceSection({ type, data }) {
  const old = document.getElementById(type);
  const fresh = old.cloneNode();
  fresh.innerHTML = data;
  localize(fresh);
  update(old, fresh);
  // Where `old` had other children, `fresh` has taken its place.
  if (type === "troubles") document.title = document.getElementById(type).firstElementChild.dataset.title;
}

function addRequests({ data }) {
  const fresh = document.createElement("template");
  fresh.innerHTML = data;
  localize(fresh.content);
  requests.querySelector(".none")?.remove();
  requests.prepend(...fresh.content.children);
  while (requests.rows.length > MAX_ROWS) requests.deleteRow(-1);
}

function on(name, act) {
  stream.addEventListener(name, (event) => { heard(); act(event); });
}

function open() {
  close();
  stream = new EventSource("events" + location.search);
  stream.onerror = () => {
    showConnection("broken", "reconnecting…");
    if (stream.readyState !== EventSource.CLOSED) return; // the browser tries again
    close();
    retry = setTimeout(follow, RECONNECT_SECONDS * 1000);
  };
  for (const name of ["troubles", "charts", "pools", "routes", "configuration"]) on(name, replaceSection);
  on("all-requests", (event) => { requests.replaceChildren(); addRequests(event); });
  on("requests", addRequests);
  on("beat", () => {});
}

function close() {
  clearTimeout(retry);
  clearTimeout(silence);
  stream?.close();
  stream = null;
}

function follow() {
  close();
  if (isPaused) showConnection("paused", "paused");
  else if (!document.hidden) open();
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? "Resume" : "Pause";
  follow();
});
document.addEventListener("visibilitychange", follow);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  event.preventDefault();
  document.querySelector("[name=find]").select();
});
pause.hidden = false;
follow();
