"use strict";
// Live parts: an element with data-live is exchanged by the same block of a fresh page.
// Without this script every page can be read, and every form sent.
(() => {
  const parts = [...document.querySelectorAll("[data-live]")];
  if (!parts.length) return;
  const state = document.createElement("p");
  state.className = "live-state";
  const text = document.createElement("span");
  text.setAttribute("role", "status");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  state.append(text, button);
  (document.querySelector("[data-live-state]") || parts[0].parentElement).append(state);

  let isPaused = false;
  const tags = new Map();

  const say = (message) => { if (text.textContent !== message) text.textContent = message; };
  const show = () => {
    button.textContent = isPaused ? "Resume live updates" : "Pause live updates";
    say(isPaused ? "Live updates are paused." : "This page updates itself.");
  };

  // A reader who types or has chosen text inside of a part keeps it as it is.
  const isInUse = (part) => {
    const focused = document.activeElement;
    const isField = focused && focused.matches("input, select, textarea");
    if (isField && part.contains(focused)) return true;
    const chosen = window.getSelection();
    return Boolean(chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
  };

  const keyOf = (element, part) => {
    if (!element || !part.contains(element)) return "";
    if (element.id) return `#${CSS.escape(element.id)}`;
    const link = element.getAttribute("href");
    return link ? `a[href="${CSS.escape(link)}"]` : "";
  };

  const exchange = (part, html) => {
    const focus = keyOf(document.activeElement, part);
    const scrolled = [...part.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    // A row above may be new: a part that has an id is known by it.
    const open = new Map([...part.querySelectorAll("details")].map((one, at) => [one.id || at, one.open]));
    const fresh = new DOMParser().parseFromString(html, "text/html");
    part.replaceChildren(...fresh.body.childNodes);
    [...part.querySelectorAll(".scroll")].forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
    [...part.querySelectorAll("details")].forEach((one, at) => { if (open.get(one.id || at)) one.open = true; });
    if (focus) part.querySelector(focus)?.focus({ preventScroll: true });
  };

  const refresh = async (part) => {
    // After a form that failed, the address is that of the form.
    const url = new URL(document.getElementById("main").dataset.page, window.location.href);
    url.searchParams.set("live", part.dataset.live);
    const headers = tags.has(part) ? { "If-None-Match": tags.get(part) } : {};
    let answer;
    try {
      answer = await fetch(url, { headers, cache: "no-store", redirect: "error" });
    } catch {
      say("The server does not answer; trying again.");
      return true;
    }
    if (answer.status === 401) {
      say("The session has ended. Load the page again to sign in.");
      button.hidden = true;
      return false;
    }
    if (answer.status === 304 || isInUse(part)) { show(); return true; }
    if (!answer.ok) { say(await answer.text()); return true; }
    exchange(part, await answer.text());
    if (answer.headers.get("ETag")) tags.set(part, answer.headers.get("ETag"));
    show();
    return true;
  };

  const follow = async (part) => {
    const pause = 1000 * Number(part.dataset.every || 3);
    if (!isPaused && !document.hidden && !(await refresh(part))) return;
    setTimeout(() => follow(part), pause);
  };

  button.addEventListener("click", () => { isPaused = !isPaused; show(); });
  show();
  for (const part of parts) setTimeout(() => follow(part), 1000 * Number(part.dataset.every || 3));
})();
