/* What HTML and htmx don't do: the form's proof, charts, choosing, asking back, following a thread. */
(() => {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** A custom property with light-dark() comes unresolved: an element resolves it. */
  const colour = (name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = css(name);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = document.body.dataset.csrf;
  });

  // On a phone the pages' names don't fit beside each other.
  document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

  // Nobody looks at a hidden page: it isn't kept up to date.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.getAttribute("hx-trigger")?.startsWith("every")) event.preventDefault();
  });

  // --- charts ---
  const charts = new Map();
  const axis = (values) => ({
    stroke: colour("--soft"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule"), width: 1 },
    font: "11px system-ui, sans-serif", ...values,
  });
  const clock = (options) => {
    const format = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...options });
    return (seconds) => format.format(new Date(seconds * 1000));
  };
  const [toMinute, toSecond] = [clock({}), clock({ second: "2-digit" })];
  const line = (label, name) => ({ label, stroke: colour(name), width: 2, points: { show: false }, spanGaps: true });

  const draw = (node) => {
    const [times, first, queued, processing] = JSON.parse(node.dataset.series);
    if (!times.length) return;
    const isTimes = node.dataset.show === "times";
    const data = isTimes ? [times, queued, processing] : [times, first];
    const key = node.id;
    const old = charts.get(key);
    if (old && old.root.isConnected) { old.setData(data); return; }
    old?.destroy();
    const single = data.slice(1).some((series) => series.filter((value) => value !== null).length <= 2);
    const fill = { fill: colour("--good-ground") };
    const series = isTimes
      ? [{}, { ...line("in queue", "--warm"), points: { show: single } }, { ...line("in processing", "--accent"), points: { show: single } }]
      : [{}, { ...line(node.dataset.show, "--accent"), ...fill, points: { show: single } }];
    charts.set(key, new uPlot({
      width: node.clientWidth, height: 190, cursor: { show: false }, legend: { show: false }, series,
      scales: { y: { range: (_, __, most) => [0, Math.max(most || 0, isTimes ? 0.1 : 1) * 1.1] } },
      axes: [axis({ space: 70, values: (_, splits, __, ___, step) => splits.map(step < 60 ? toSecond : toMinute) }), axis({ size: 46 })],
    }, data, node));
  };
  const drawAll = () => document.querySelectorAll("[data-series]").forEach(draw);
  const redraw = () => { charts.forEach((chart) => chart.destroy()); charts.clear(); drawAll(); };
  addEventListener("resize", () => charts.forEach((chart) => chart.setSize({ width: chart.root.parentElement.clientWidth, height: 190 })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // --- times in the reader's own zone ---
  const FORMAT = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });
  const localise = (root) => root.querySelectorAll("time[datetime]").forEach((node) => {
    node.textContent = FORMAT.format(new Date(node.dateTime));
  });

  // --- live parts: what changed is changed, all else stays: focus, scroll, what is open or playing ---
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old, fresh) => {
      if (old.nodeName === "TIME") return old.getAttribute("datetime") !== fresh.getAttribute("datetime");
      if (!old.classList?.contains("chart")) return true;
      // What is drawn in it isn't in the page that came.
      for (const name of ["data-series", "aria-label"]) old.setAttribute(name, fresh.getAttribute(name));
      return false;
    },
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.nodeName === "DETAILS"),
  });
  const follow = (thread) => { thread.scrollTop = thread.scrollHeight; };
  const isAtEnd = (thread) => thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target.matches("[data-end]")) event.target.dataset.end = isAtEnd(event.target) ? "follow" : "";
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    drawAll();
    localise(event.target);
    if (event.target.dataset?.end === "follow") follow(event.target);
  });

  // --- a live part that gets no answer says so ---
  let answered = new Date();
  const stale = document.createElement("p");
  stale.className = "verdict bad stale";
  stale.setAttribute("role", "alert");
  const isLive = (event) => event.target.matches?.("[data-live]");
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isLive(event) || !event.detail.successful) return;
    answered = new Date();
    stale.remove();
  });
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      if (!isLive(event) || stale.isConnected) return;
      const since = answered.toLocaleTimeString([], { timeStyle: "medium" });
      event.target.before(stale);
      stale.textContent = `No answer since ${since}: what you see is from then. Trying again.`;
    });
  }

  // --- what was typed outlives a session that ended meanwhile ---
  const draft = document.querySelector("[data-draft]");
  const place = `draft ${location.pathname}`;
  if (location.hash === "#sent") {
    sessionStorage.removeItem(place);
    history.replaceState(null, "", location.pathname);
  }
  if (draft) {
    draft.value ||= sessionStorage.getItem(place) ?? "";
    draft.addEventListener("input", () => sessionStorage.setItem(place, draft.value));
  }
  document.querySelector("form[action='/console/sign-out']")?.addEventListener("submit", () => sessionStorage.clear());

  // --- choosing and asking back ---
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-choose-all]")) return;
    event.target.form.querySelectorAll("tbody input[type=checkbox]").forEach((box) => { box.checked = event.target.checked; });
  });
  document.addEventListener("click", (event) => {
    const question = event.target.closest("[data-confirm]")?.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.id === "question") {
      event.preventDefault();
      event.target.parentElement.querySelector("button").click();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "answer-text") event.target.form.requestSubmit();
  });

  drawAll();
  localise(document);
  document.querySelectorAll("[data-end]").forEach(follow);
})();
