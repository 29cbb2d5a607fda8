"use strict";
// What of a page is live: a log that is followed, and searching in it. Everything else works without this file. Text from
// outside becomes text nodes here, never HTML.
(() => {
  const section = document.getElementById("log-section");
  const log = document.getElementById("log");
  if (!section || !log) return;
  const follow = document.getElementById("follow");
  const firstError = document.getElementById("first-error");
  const live = document.getElementById("live");
  const query = document.getElementById("q");
  const hits = document.getElementById("hits");
  const most = 20000; // lines that are kept on the page
  let following = false;

  const setFollowing = (on) => {
    following = on;
    follow.setAttribute("aria-pressed", String(on));
    follow.textContent = on ? "Following" : "Follow";
    if (on) log.scrollTop = log.scrollHeight;
  };
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

  // Lines.
  const lineOf = ([number, wrong, spans]) => {
    const line = document.createElement("div");
    line.id = "L" + number;
    if (wrong) line.className = "wrong";
    const link = document.createElement("a");
    link.href = "#L" + number;
    link.textContent = number;
    line.append(link);
    for (const [look, text] of spans) {
      if (!look) { line.append(text); continue; }
      const span = document.createElement("span");
      span.className = look;
      span.textContent = text;
      line.append(span);
    }
    return line;
  };
  let waiting = [], drawing = false;
  const draw = () => {
    drawing = false;
    const batch = waiting;
    waiting = [];
    const more = document.createDocumentFragment();
    const fresh = new Map();
    let hit = false;
    for (const one of batch) {
      const line = lineOf(one);
      const old = fresh.get(line.id) || document.getElementById(line.id);
      if (old) old.replaceWith(line); else more.append(line);
      fresh.set(line.id, line);
      if (one[1] && firstError.hidden) {
        firstError.href = "#" + line.id;
        firstError.hidden = false;
      }
      if (words && contains(line)) { line.classList.add("hit"); hit = true; }
    }
    log.append(more);
    while (log.childElementCount > most) log.firstElementChild.remove();
    if (hit) count();
    if (following) log.scrollTop = log.scrollHeight;
  };
  const put = (lines) => {
    waiting.push(...lines);
    if (!drawing) { drawing = true; requestAnimationFrame(draw); }
  };

  // Search.
  let words = "", at = -1;
  const contains = (line) => line.textContent.slice(line.firstElementChild.textContent.length).toLowerCase().includes(words);
  const found = () => log.getElementsByClassName("hit");
  const count = () => {
    const n = found().length;
    hits.textContent = !words ? "" : n === 1 ? "1 line" : n + " lines";
  };
  const search = () => {
    words = query.value.toLowerCase();
    at = -1;
    for (const line of log.children) {
      if (line.id) line.classList.toggle("hit", words !== "" && contains(line));
    }
    count();
  };
  const next = (back) => {
    const all = found();
    if (!all.length) return;
    for (const old of log.getElementsByClassName("now")) old.classList.remove("now");
    at = (at + (back ? -1 : 1) + all.length) % all.length;
    setFollowing(false);
    all[at].classList.add("now");
    all[at].scrollIntoView({ block: "center" });
    hits.textContent = (at + 1) + " of " + all.length;
  };
  if (query) {
    query.addEventListener("input", search);
    query.addEventListener("keydown", (e) => { if (e.key === "Enter" && e.shiftKey) { e.preventDefault(); next(true); } });
    query.form.addEventListener("submit", (e) => { e.preventDefault(); if (query.value.toLowerCase() !== words) search(); next(false); });
    words = query.value.toLowerCase();
  }
  firstError.addEventListener("click", () => setFollowing(false));

  // Following.
  if (!section.dataset.stream) return;
  follow.hidden = false;
  follow.addEventListener("click", () => setFollowing(!following));
  let y = 0;
  log.addEventListener("scroll", () => {
    if (log.scrollTop < y && !atEnd() && following) setFollowing(false);
    else if (!following && atEnd() && log.scrollTop > y) setFollowing(true);
    y = log.scrollTop;
  });
  setFollowing(!location.hash);
  live.textContent = "Live.";

  // The rest of the page is asked for again when the build has gone on. A document that is loaded this way runs nothing.
  let asking = false, again = false;
  const refresh = () => {
    if (asking) { again = true; return; }
    asking = true;
    const ask = new XMLHttpRequest();
    ask.open("GET", location.pathname + "?part=summary");
    ask.responseType = "document";
    ask.onloadend = () => {
      const now = ask.response && ask.response.getElementById("summary");
      const old = document.getElementById("summary");
      if (ask.status === 200 && now && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(now));
      else if (ask.status === 200 && now) document.getElementById("state").replaceWith(document.adoptNode(ask.response.getElementById("state")));
      asking = false;
      if (again) { again = false; refresh(); }
    };
    ask.send();
  };
  // A page that nobody looks at holds no connection: a browser has six for all pages of a service.
  let source = null, cursor = section.dataset.at, ended = false;
  const listen = () => {
    if (source || ended || document.hidden) return;
    source = new EventSource(section.dataset.stream + "?at=" + encodeURIComponent(cursor) + "&seen=" + encodeURIComponent(section.dataset.seen));
    source.onmessage = (e) => { cursor = e.lastEventId; put(JSON.parse(e.data)); };
    source.onopen = () => { live.textContent = "Live."; };
    source.onerror = (e) => { live.textContent = e.target.readyState === EventSource.CLOSED ? "The log is not followed any more." : "The connection was lost. Trying again…"; };
    source.addEventListener("change", refresh);
    source.addEventListener("end", () => {
      ended = true;
      source.close();
      live.textContent = "The log has ended.";
      if (document.getElementById("summary").contains(document.activeElement)) document.activeElement.blur(); // it is replaced
      refresh();
      follow.hidden = true;
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) listen();
    else if (source && !ended) { source.close(); source = null; }
  });
  listen();
})();

// The form of a template: whether a name is free is told while it is written, and what is sent is sent once.
(() => {
  const form = document.getElementById("deploy");
  if (!form) return;
  const name = document.getElementById("name"), note = document.getElementById("name-note"), check = document.getElementById("check");
  if (check) {
    check.hidden = true;
    const was = note.textContent;
    let timer = 0, asked = 0;
    name.addEventListener("input", () => {
      clearTimeout(timer);
      const turn = ++asked;
      timer = setTimeout(async () => {
        const answer = name.value ? await fetch("/console/app-name?name=" + encodeURIComponent(name.value)).catch(() => null) : null;
        const said = answer && answer.ok ? await answer.json().catch(() => null) : null;
        if (turn !== asked) return;
        note.textContent = !said ? was : said.wrong || "The name is free.";
        note.className = said && said.wrong ? "small why" : "small dim";
        if (said && said.wrong) name.setAttribute("aria-invalid", "true"); else name.removeAttribute("aria-invalid");
      }, 250);
    });
  }
  let sent = false;
  form.addEventListener("submit", (e) => { if (sent) e.preventDefault(); sent = true; });
  addEventListener("pageshow", () => { sent = false; });
})();
