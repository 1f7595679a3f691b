"use strict";
// Moves the packet through the pictures. Everything to read is in the page already; this only shows one step of it at a time.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const steps = data.steps;
  if (!steps.length) return;
  const root = document.documentElement;
  root.classList.add("js");
  for (const section of document.querySelectorAll(".step")) section.removeAttribute("id"); // or a link to a hop would scroll there
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const by = (id) => document.getElementById(id);
  const pictures = all("svg.picture").map((svg) => ({
    svg, name: svg.classList.contains("wide") ? "wide" : "tall", packet: svg.querySelector(".packet"), timer: 0,
  }));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const MOVE_MS = 700, READ_MS = 1100;
  let now = -1, playing = 0;

  // ---- moving -----------------------------------------------------------------------------------------------------------------

  function place(picture, x, y) {
    picture.packet.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  }

  function linesTo(picture, from, to) {
    // The lines between two neighbouring steps, each with its direction; none where it is a jump.
    const leg = picture.svg.querySelector(`.leg[data-leg="${steps[to].leg}"]`);
    const seg = (index) => leg.querySelector(`.seg[data-step="${index + 1}"]`);
    const lines = [];
    if (from >= 0 && steps[from].leg === steps[to].leg) {
      if (to === from + 1) lines.push([seg(to), false]);
      if (to === from - 1) lines.push([seg(from), true]);
    }
    const lost = steps[to].lost && leg.querySelector(".seg.lost");
    if (lost) lines.push([lost, false]);
    return lines.filter(([line]) => line);
  }

  function move(picture, from, to) {
    cancelAnimationFrame(picture.timer);
    const lines = linesTo(picture, from, to);
    const at = steps[to].at[picture.name];
    const jump = lines.length === 0 || (lines.length === 1 && steps[to].lost && from !== to + 1 && from !== to - 1);
    if (still.matches || jump) {
      const lost = lines.find(([line]) => line.classList.contains("lost"));
      const point = lost && lost[0].getPointAtLength(lost[0].getTotalLength());
      place(picture, point ? point.x : at[0], point ? point.y : at[1]);
      return;
    }
    const lengths = lines.map(([line]) => line.getTotalLength());
    const whole = lengths.reduce((sum, length) => sum + length, 0) || 1;
    const started = performance.now();
    const frame = (time) => {
      const share = Math.min(1, Math.max(0, (time - started) / MOVE_MS));
      let way = whole * (share < 0.5 ? 2 * share * share : 1 - 2 * (1 - share) * (1 - share));
      let index = 0;
      while (index < lines.length - 1 && way > lengths[index]) way -= lengths[index++];
      const [line, backwards] = lines[index];
      const point = line.getPointAtLength(backwards ? lengths[index] - way : way);
      place(picture, point.x, point.y);
      if (share < 1) picture.timer = requestAnimationFrame(frame);
    };
    frame(started);
  }

  // ---- showing ----------------------------------------------------------------------------------------------------------------

  function show(to, jump = false) {
    to = Math.max(0, Math.min(steps.length - 1, to));
    const from = jump ? -1 : now, step = steps[to];
    now = to;
    root.dataset.step = String(to + 1);
    all(".step").forEach((section) => section.classList.toggle("now", section.dataset.step === String(to + 1)));
    all("tr[data-step]").forEach((row) => row.classList.toggle("now", row.dataset.step === String(to + 1)));
    all(".leg").forEach((leg) => leg.classList.toggle("now", leg.dataset.leg === String(step.leg)));
    for (const line of all(".seg[data-step]")) line.classList.toggle("done", Number(line.dataset.step) <= to + 1);
    for (const badge of all(".badge")) {
      const numbers = badge.dataset.steps.split(" ").map(Number);
      badge.classList.toggle("done", numbers[0] <= to + 1);
    }
    for (const box of all(".box[data-key]")) {
      const key = box.dataset.key;
      box.classList.toggle("here", key === step.place || key === step.link);
      box.classList.toggle("chosen", Boolean(step.table) && key === step.table);
    }
    root.classList.toggle("lost", step.lost);
    for (const picture of pictures) {
      picture.packet.setAttribute("class", `packet from-${step.colours[0]} to-${step.colours[1]}`);
      move(picture, from, to);
    }
    by("slider").value = String(to + 1);
    by("slider").setAttribute("aria-valuetext", step.title);
    by("count").textContent = step.title;
    document.querySelector(".panels").scrollTop = 0;
    for (const [id, off] of [["first", to === 0], ["back", to === 0], ["next", to === steps.length - 1], ["last", to === steps.length - 1]])
      by(id).setAttribute("aria-disabled", String(off));
    keepInView(step);
  }

  function keepInView(step) {
    const figure = document.querySelector("figure");
    for (const { svg, name } of pictures) {
      if (!svg.clientWidth || figure.scrollWidth <= figure.clientWidth) continue;
      const x = (step.at[name][0] / svg.viewBox.baseVal.width) * svg.clientWidth;
      figure.scrollTo({ left: x - figure.clientWidth / 2, behavior: still.matches ? "auto" : "smooth" });
    }
  }

  // ---- playing ----------------------------------------------------------------------------------------------------------------

  function pause() {
    clearTimeout(playing);
    playing = 0;
    root.classList.remove("playing");
    by("play").setAttribute("aria-label", "play");
  }

  function tick() {
    if (now >= steps.length - 1) return pause();
    show(now + 1);
    playing = setTimeout(tick, MOVE_MS + READ_MS);
  }

  function play() {
    if (playing) return pause();
    if (now >= steps.length - 1) show(0, true);
    root.classList.add("playing");
    by("play").setAttribute("aria-label", "pause");
    playing = setTimeout(tick, READ_MS / 2);
  }

  const go = (to) => { pause(); show(to); };
  const actions = { first: () => go(0), back: () => go(now - 1), play, next: () => go(now + 1), last: () => go(steps.length - 1) };
  for (const [id, action] of Object.entries(actions)) by(id).addEventListener("click", action);
  by("slider").addEventListener("input", () => go(Number(by("slider").value) - 1));

  function theme() {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }
  by("theme").addEventListener("click", theme);

  const keys = { ArrowRight: actions.next, ArrowLeft: actions.back, Home: actions.first, End: actions.last, " ": play, d: theme };
  document.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && /^(BUTTON|SUMMARY|A)$/.test(event.target.tagName)) return;
    event.preventDefault();
    action();
  });

  // ---- links to a hop ---------------------------------------------------------------------------------------------------------

  function fromHash() {
    const found = /^#hop-(\d+)$/.exec(location.hash);
    if (found) go(Number(found[1]) - 1);
  }
  all('a[href^="#hop-"]').forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    go(Number(link.getAttribute("href").slice(5)) - 1);
    scrollTo({ top: 0, behavior: still.matches ? "auto" : "smooth" });
  }));
  addEventListener("hashchange", fromHash);
  show(0, true);
  fromHash();
})();
