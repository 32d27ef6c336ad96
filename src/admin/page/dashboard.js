"use strict";
// Everything shown comes from GET /v1/events?figures=true. Text is only ever set as text.

const MOST_EVENTS = 50;
const TOKEN = "stickler-admin-token";
const $ = (id) => document.getElementById(id);

const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const number = (n) => n.toLocaleString("en");
const count = (n, one, many) => `${number(n)} ${n === 1 ? one : many ?? one + "s"}`;
const percent = (share) => `${(share * 100).toFixed(1)} %`;
const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });
const decimal = (n) => number(+n.toFixed(n < 10 ? 1 : 0));
const span = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
};

// --- asking -------------------------------------------------------------------------------------

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  if (response.status !== 401) return response;
  await askForToken(token !== null);
  return ask(path, options);
}

let asking;
function askForToken(wasWrong) {
  sessionStorage.removeItem(TOKEN);
  asking ??= new Promise((resolve) => {
    const dialog = $("ask");
    $("ask-problem").hidden = !wasWrong;
    $("ask-token").value = "";
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => {
      sessionStorage.setItem(TOKEN, $("ask-token").value.trim());
      asking = undefined;
      resolve();
    };
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

async function order(path, body) {
  const headers = { "Content-Type": "application/json" };
  const response = await ask(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (response.ok) return undefined;
  try {
    return await response.json();
  } catch {
    return { title: "Error", detail: `the answer is ${response.status}` };
  }
}

// --- the stream ---------------------------------------------------------------------------------

function link(state, text) {
  $("link").dataset.link = state;
  set($("link-text"), text);
}

async function follow() {
  for (;;) {
    try {
      await read();
    } catch { /* said below */ }
    link("lost", "no connection: trying again");
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function read() {
  const controller = new AbortController();
  let alarm;
  const alive = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => controller.abort(), 20000);
  };
  const response = await ask("/v1/events?figures=true", { signal: controller.signal });
  if (!response.ok) throw new Error(response.status);
  ask("/v1/process").then((r) => r.json()).then(showProcess, () => {});
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    alive();
    const { value, done } = await reader.read();
    if (done) break;
    buffer += value;
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const lines = event.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) happened(JSON.parse(lines.map((line) => line.slice(5).trimStart()).join("\n")));
    }
  }
  clearTimeout(alarm);
}

function happened(event) {
  switch (event.event) {
    case "figures":
      link("live", "live");
      showPools(event);
      break;
    case "transition": {
      const bound = event.to === "ready" ? "" : `, ${count(event.sessions, "session")} bound`;
      tell(event.at, `${event.pool}/${event.backend} is ${event.to} (was ${event.from}): ${event.why}${bound}`);
      break;
    }
    case "reload":
      tell(event.at, event.ok
        ? `configuration reloaded: ${event.changes.join("; ") || "nothing has changed"}`
        : "configuration not reloaded: the file has mistakes, the old one goes on");
      break;
    case "membership":
      for (const name of event.added) tell(event.at, `${event.pool}/${name} is a member now`);
      for (const name of event.removed) tell(event.at, `${event.pool}/${name} is no longer a member`);
      break;
    case "weight":
      tell(event.at, `${event.pool}/${event.backend} has weight ${event.weight}`);
      break;
    case "lag":
      tell(new Date(), `${count(event.missed, "event")} missed here`);
      break;
  }
}

function tell(at, text) {
  $("lately-empty").hidden = true;
  $("lately").prepend(el("li", {}, el("time", { datetime: new Date(at).toISOString() }, clock(at)), el("span", {}, text)));
  while ($("lately").childElementCount > MOST_EVENTS) $("lately").lastElementChild.remove();
}

function showProcess(process) {
  set($("process"), `${process.version} on ${process.listeners.join(", ")}, since ${new Date(process.started).toLocaleString([], { hour12: false })}`);
}

// --- pools --------------------------------------------------------------------------------------

/** Keeps one view for each item, in order; views that are there are updated, not made again. */
class Views {
  constructor(parent, make) { Object.assign(this, { parent, make, byName: new Map() }); }
  show(items, ...rest) {
    const names = new Set(items.map((item) => item.name));
    for (const [name, view] of this.byName) {
      if (!names.has(name)) { view.node.remove(); this.byName.delete(name); }
    }
    items.forEach((item, i) => {
      let view = this.byName.get(item.name);
      if (!view) this.byName.set(item.name, (view = this.make(item, ...rest)));
      const there = this.parent.children[i];
      if (there !== view.node) this.parent.insertBefore(view.node, there ?? null);
      view.update(item, ...rest);
    });
  }
}

let pools, splits;
let latest = { pools: [] };
function showPools(figures) {
  latest = figures;
  $("nothing")?.remove();
  pools ??= new Views($("pools"), (pool) => new PoolView(pool));
  pools.show(figures.pools, Date.parse(figures.at));
  splits ??= new Views($("routes"), (route) => new SplitView(route));
  $("routes").hidden = !figures.routes?.length;
  splits.show(figures.routes ?? []);
}

class PoolView {
  constructor(pool) {
    const id = `pool-${pool.name}`;
    this.about = el("small");
    this.facts = {};
    const facts = el("dl", { class: "facts" });
    for (const name of ["sessions", "in flight", "requests/s", "busiest", "waiting", "not placed"]) {
      const value = el("dd");
      facts.append((this.facts[name] = el("div", {}, el("dt", {}, name), value)));
    }
    this.reasons = el("p", { class: "reasons" });
    const columns = ["Backend", "Load, last 10 s", "Sessions", "In flight", "p50 / p99", ""].map((t) => el("span", {}, t));
    const list = el("ul");
    this.backends = new Views(list, (backend) => new BackendView(pool.name, backend));
    this.cost = new CostView(pool.name);
    this.experiment = el("p", { class: "experiment" });
    this.node = el("section", { class: "pool", "aria-labelledby": id, "data-pool": pool.name },
      el("div", { class: "pool-head" }, el("h2", { id }, pool.name, this.about), facts),
      this.cost.node, this.experiment, this.reasons, el("div", { class: "columns", "aria-hidden": "true" }, ...columns), list);
  }

  fact(name, text, isShown = true, warns = false) {
    const fact = this.facts[name];
    fact.hidden = !isShown;
    fact.classList.toggle("warn", warns);
    set(fact.lastElementChild, text);
  }

  update(pool, now) {
    const sticky = pool.affinity.mode !== "none";
    set(this.about, `affinity ${pool.affinity.mode}, balance ${pool.balance}`);
    this.fact("sessions", number(pool.sessions) + (pool.untracked ? "+" : ""), sticky);
    this.fact("in flight", number(pool.in_flight));
    this.fact("requests/s", decimal(pool.request_rate));
    const peak = Math.max(0, ...pool.backends.map((b) => (b.fair_share ? b.request_share / b.fair_share : 0)));
    this.fact("busiest", `${peak.toFixed(2)} × fair`, peak > 0, peak > 1.5);
    this.fact("waiting", number(pool.waiting), pool.waiting > 0, true);
    this.fact("not placed", number(pool.unavailable), pool.unavailable > 0, true);
    const reasons = Object.entries(pool.reasons).sort((a, b) => b[1] - a[1]);
    this.reasons.hidden = reasons.length === 0;
    const text = JSON.stringify(reasons);
    if (this.reasons.dataset.shown !== text) {
      this.reasons.dataset.shown = text;
      this.reasons.replaceChildren("Moved, detoured or not honoured: ",
        ...reasons.flatMap(([reason, n], i) => [i ? ", " : "", `${reason} `, el("b", {}, number(n))]));
    }
    this.cost.update(pool);
    this.experiment.hidden = !pool.unstick;
    this.experiment.dataset.verdict = pool.unstick?.verdict ?? "";
    if (pool.unstick) set(this.experiment, `Unstick experiment, ${number(pool.unstick.percent)} % of the sessions: ${pool.unstick.in_words}`);
    // One scale for all bars of a pool.
    const shares = pool.backends.flatMap((b) => [b.request_share, b.session_share, b.fair_share]);
    const scale = Math.min(1, Math.max(0.02, ...shares) * 1.12);
    this.backends.show(pool.backends, pool, scale, now);
  }
}

// --- what stickiness costs ----------------------------------------------------------------------

const WINDOWS = { "10s": "10 s", "1m": "1 min", "5m": "5 min" };
const MOST_COLUMNS = 60;
const times = (n) => (n === undefined ? "–" : n.toFixed(2));

/** The headroom cost in large type, what it means, and real load against even distribution. */
class CostView {
  constructor(pool) {
    this.window = "1m";
    this.price = el("b");
    this.over = el("span");
    this.meaning = el("p", { class: "meaning" });
    this.choice = el("div", { class: "windows", role: "group", "aria-label": `Window of the figures of ${pool}` });
    this.buttons = Object.entries(WINDOWS).map(([window, name]) => {
      const button = el("button", { type: "button", "data-window": window, "aria-label": `Cost over ${name}` }, name);
      button.onclick = () => { this.window = window; this.update(this.shown); };
      this.choice.append(button);
      return button;
    });
    this.chart = el("div", { class: "chart", role: "img" });
    this.columns = new Views(this.chart, () => new Column());
    this.facts = el("dl", { class: "facts" });
    this.values = new Map();
    this.node = el("div", { class: "cost" },
      el("div", { class: "price" }, this.price, this.over, this.choice),
      el("div", { class: "story" }, this.meaning, this.facts), this.chart);
  }

  fact(name, text, title) {
    if (!this.values.has(name)) {
      const value = el("dd");
      this.values.set(name, value);
      this.facts.append(el("div", { title }, el("dt", {}, name), value));
    }
    set(this.values.get(name), text);
  }

  update(pool) {
    this.shown = pool;
    const cost = pool.cost?.find((cost) => cost.window === this.window);
    this.node.hidden = !cost;
    if (!cost) return;
    const { real, even, spread, blast_radius: radius } = cost;
    const share = (n) => (n === undefined ? "–" : percent(n));
    const headroom = cost.headroom_cost;
    const isKnown = headroom !== undefined && cost.is_meaningful;
    set(this.price, isKnown ? `${Math.round(headroom * 100) || 0} %` : "–");
    this.price.classList.toggle("over", isKnown && headroom > 0.25);
    set(this.over, `headroom cost, ${WINDOWS[this.window]}`);
    set(this.meaning, cost.in_words);
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.window === this.window));
    this.fact("in-flight time", `${times(real.in_flight_time.peak_to_mean)} × fair, even ${times(even.in_flight_time.peak_to_mean)}`, "The busiest backend's in-flight time over its fair share, and under even distribution");
    this.fact("requests", `${times(real.requests.peak_to_mean)} × fair, even ${times(even.requests.peak_to_mean)}`, "The same for requests");
    this.fact("sessions", `${times(real.sessions?.peak_to_mean)} × fair`, "The same for bound sessions");
    this.fact("forced", share(cost.forced_share), "Requests that affinity sent elsewhere than the balancer would have");
    this.fact("p50, p99 at the busiest", `${times(spread?.p50.ratio)}, ${times(spread?.p99.ratio)} × the pool’s`, "How long its answers take");
    this.fact("Jain", times(real.in_flight_time.jain), "Jain's index of in-flight time: 1 is even");
    this.fact("variation", times(real.in_flight_time.variation), "Standard deviation over mean: 0 is even");
    this.fact("blast radius", radius ? `${count(radius.sessions, "session")} (${percent(radius.share)}) at ${radius.backend}` : "–", "Sessions that are lost if this backend dies now");
    const moves = Object.entries(cost.moves).map(([reason, n]) => `${reason} ${number(n)}`);
    this.fact("moved", moves.join(", ") || "none", "Sessions that got another home, by reason");
    const parts = cost.backends.filter((part) => part.in_flight_share !== undefined || part.even_in_flight_share !== undefined);
    this.chart.hidden = parts.length === 0 || parts.length > MOST_COLUMNS;
    const most = Math.max(0.01, ...parts.flatMap((part) => [part.in_flight_share ?? 0, part.even_in_flight_share ?? 0]));
    this.columns.show(parts, most);
    this.chart.setAttribute("aria-label", "Share of the in-flight time, and under even distribution: "
      + parts.map((part) => `${part.name} ${share(part.in_flight_share)}, even ${share(part.even_in_flight_share)}`).join("; "));
  }
}

/** One backend's real share of the in-flight time (filled) and its share in the even world (outline). */
class Column {
  constructor() {
    this.real = el("i");
    this.even = el("u");
    this.name = el("span");
    this.node = el("div", { class: "column" }, el("div", { class: "well" }, this.real, this.even), this.name);
  }
  update(part, most) {
    this.real.style.setProperty("--at", ((part.in_flight_share ?? 0) / most).toFixed(4));
    this.even.style.setProperty("--at", ((part.even_in_flight_share ?? 0) / most).toFixed(4));
    set(this.name, part.name);
  }
}

// --- routes over several pools ------------------------------------------------------------------

class SplitView {
  constructor(route) {
    const id = `route-${route.name}`;
    const list = el("ul");
    this.arms = new Views(list, (arm) => new ArmView(route.name, arm));
    this.node = el("section", { class: "split", "aria-labelledby": id, "data-route": route.name },
      el("h2", { id }, `Route ${route.name}`, el("small", {}, "requests of the last minute; the mark is what each pool should have")), list);
  }
  update(route) {
    this.arms.show(route.pools.map((arm) => ({ ...arm, name: arm.pool })));
  }
}

class ArmView {
  constructor(route, arm) {
    this.about = el("p");
    this.meter = new Meter("share", "Share", `${route}/${arm.pool}`);
    this.sessions = el("b");
    const button = (what, title, text) => {
      const button = el("button", { type: "button", "data-do": what, "aria-label": `${title} ${arm.pool} on ${route}` }, title);
      button.onclick = () => open({
        title: `${title} ${arm.pool}?`, text, confirm: title, hasPolicy: true,
        act: () => order(`/v1/routes/${encodeURIComponent(route)}/pools/${encodeURIComponent(arm.pool)}/${what}`, policy()),
      });
      return button;
    };
    this.node = el("li", { class: "arm", "data-arm": `${route}/${arm.pool}` },
      el("div", {}, el("h3", {}, arm.pool), this.about), this.meter.node, el("div", { class: "number" }, this.sessions),
      el("div", { class: "do" },
        button("promote", "Promote", "Its backends are made ready, and those of the route’s other pools drain: their sessions come here as the policy says."),
        button("abort", "Abort", "Its backends drain: they take no new sessions, and their own go to the route’s other pools as the policy says.")));
  }
  update(arm) {
    this.node.classList.toggle("closed", !arm.takes_new);
    set(this.about, `weight ${number(arm.weight)}${arm.takes_new ? "" : ", takes no new sessions"}`);
    set(this.sessions, count(arm.sessions, "session"));
    const share = arm.share === undefined ? "–" : percent(arm.share);
    this.meter.show(arm.share ?? 0, arm.wanted, 1, share, false);
    set(this.meter.note, `of ${percent(arm.wanted)}`);
    this.meter.bar.setAttribute("aria-valuetext", `${share}, should have ${percent(arm.wanted)}`);
  }
}

// --- backends -----------------------------------------------------------------------------------

class Meter {
  constructor(kind, label, name) {
    this.fill = el("i");
    this.mark = el("u");
    this.bar = el("div", { class: "bar", role: "meter", "aria-label": `${label} of ${name}`, "aria-valuemin": "0", "aria-valuemax": "100" }, this.fill, this.mark);
    this.value = el("b");
    this.note = el("span");
    this.node = el("div", { class: `meter ${kind}` }, el("span", { class: "label", "aria-hidden": "true" }, label),
      this.bar, el("div", { class: "figures", "aria-hidden": "true" }, this.value, this.note));
  }
  show(share, fair, scale, value, isAny) {
    this.fill.style.setProperty("--at", Math.min(1, share / scale).toFixed(4));
    this.mark.style.setProperty("--fair", Math.min(1, fair / scale).toFixed(4));
    this.mark.hidden = fair === 0;
    set(this.value, value);
    const ratio = fair ? share / fair : 0;
    const note = !isAny ? "" : fair ? `${percent(share)}, ${ratio.toFixed(2)} × fair` : percent(share);
    set(this.note, note);
    this.note.className = ratio > 1.25 ? "over" : "";
    this.bar.setAttribute("aria-valuenow", (share * 100).toFixed(1));
    this.bar.setAttribute("aria-valuetext", `${value}, ${percent(share)}, fair share ${percent(fair)}`);
  }
}

class BackendView {
  constructor(pool, backend) {
    const name = `${pool}/${backend.name}`;
    this.icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.icon.setAttribute("aria-hidden", "true");
    this.use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    this.icon.append(this.use);
    this.state = el("span");
    this.address = el("p");
    this.load = new Meter("load", "Load, last 10 s", name);
    this.sessions = new Meter("sessions", "Sessions", name);
    this.inFlight = el("b");
    this.more = el("small");
    this.latency = el("span");
    this.button = el("button", { type: "button" });
    this.button.onclick = () => (this.button.dataset.do === "drain" ? askToDrain(pool, this.shown) : askToRestore(pool, this.shown));
    this.line = el("div", { class: "line" });
    this.progress = el("i");
    this.progressBar = el("div", { class: "bar", role: "progressbar", "aria-label": `Drain of ${name}`, "aria-valuemin": "0", "aria-valuemax": "100" }, this.progress);
    this.drain = el("div", { class: "drain" }, this.line, this.progressBar);
    this.trouble = el("p", { class: "trouble" });
    this.node = el("li", { class: "backend", "data-backend": name },
      el("div", { class: "row" },
        el("div", { class: "who" }, el("div", { class: "name" }, el("h3", {}, backend.name), el("span", { class: "state" }, this.icon, this.state)), this.address),
        this.load.node, this.sessions.node,
        el("div", { class: "number" }, el("span", { class: "label" }, "In flight"), this.inFlight, this.more),
        el("div", { class: "number latency" }, el("span", { class: "label" }, "p50 / p99"), this.latency),
        el("div", { class: "do" }, this.button)),
      this.drain, this.trouble);
  }

  update(backend, pool, scale, now) {
    this.shown = backend;
    if (this.node.dataset.state !== backend.state) {
      this.node.dataset.state = backend.state;
      this.use.setAttribute("href", `#i-${backend.state}`);
      set(this.state, backend.state);
    }
    const weight = backend.weight === 1 ? "" : `, weight ${backend.weight}`;
    set(this.address, `${backend.address}${weight}${backend.priority ? `, priority ${backend.priority}` : ""}`);
    this.load.show(backend.request_share, backend.fair_share, scale, `${decimal(backend.request_rate)}/s`, pool.request_rate > 0);
    this.sessions.node.style.visibility = pool.affinity.mode === "none" ? "hidden" : "";
    this.sessions.show(backend.session_share, backend.fair_share, scale, number(backend.sessions), pool.sessions > 0);
    set(this.inFlight, number(backend.in_flight) + (backend.max_connections ? ` of ${number(backend.max_connections)}` : ""));
    const more = [backend.waiting && `${number(backend.waiting)} waiting`, backend.tunnels && count(backend.tunnels, "tunnel")];
    set(this.more, more.filter(Boolean).join(", "));
    const { latency } = backend;
    set(this.latency, latency ? `${decimal(latency.p50_ms)} / ${decimal(latency.p99_ms)} ms` : "–");
    const isOut = ["draining", "drained", "maintenance"].includes(backend.state) || (backend.drain && !backend.drain.ended);
    this.button.dataset.do = isOut ? "restore" : "drain";
    set(this.button, isOut ? "Restore" : "Drain");
    this.button.setAttribute("aria-label", `${isOut ? "Restore" : "Drain"} ${pool.name}/${backend.name}`);
    this.showDrain(backend, now);
    const isIll = backend.state === "down" || backend.state === "ejected";
    this.trouble.hidden = !(isIll && backend.last_error);
    if (!this.trouble.hidden) set(this.trouble, `${clock(backend.last_error.at)} ${backend.last_error.what}`);
  }

  showDrain(backend, now) {
    const { drain } = backend;
    const isShown = drain && (!drain.ended || backend.state === "drained");
    this.drain.hidden = !isShown;
    if (!isShown) return;
    this.drain.classList.toggle("ended", Boolean(drain.ended));
    const all = drain.sessions_at_start + drain.joined;
    const gone = all - drain.sessions;
    const left = `${number(drain.left)} left by themselves, ${number(drain.moved)} moved, ${number(drain.cut)} no longer waited for`;
    const parts = drain.ended
      ? [el("b", {}, `Drained in ${span(Date.parse(drain.ended) - Date.parse(drain.since))}`), el("span", {}, `${count(all, "session")}: ${left}`)]
      : [el("b", {}, `${number(drain.sessions)} of ${count(all, "session")} still here`),
        el("span", {}, `${number(drain.in_flight)} in flight${drain.tunnels ? `, ${count(drain.tunnels, "tunnel")}` : ""}`),
        el("span", {}, left),
        drain.deadline ? el("span", {}, Date.parse(drain.deadline) > now ? `deadline in ${span(Date.parse(drain.deadline) - now)}` : "the deadline is over") : "",
        drain.estimated_end ? el("span", {}, `done in about ${span(Date.parse(drain.estimated_end) - now)}`) : ""];
    if (drain.tunnels_closed) parts.push(el("span", {}, `${count(drain.tunnels_closed, "tunnel")} closed`));
    this.line.replaceChildren(...parts);
    const done = all ? gone / all : 1;
    this.progress.style.setProperty("--at", done.toFixed(4));
    this.progressBar.setAttribute("aria-valuenow", Math.round(done * 100));
    this.progressBar.hidden = Boolean(drain.ended);
  }
}

// --- acting -------------------------------------------------------------------------------------

function open({ title, text, confirm, hasPolicy, act }) {
  const dialog = $("act");
  set($("act-title"), title);
  set($("act-text"), text);
  set($("act-confirm"), confirm);
  $("act-policy").hidden = !hasPolicy;
  for (const id of ["act-deadline", "act-idle", "act-pace"]) $(id).value = "";
  $("act-problem").hidden = $("act-force-label").hidden = true;
  $("act-force").checked = false;
  $("act-cancel").onclick = () => dialog.close();
  dialog.firstElementChild.onsubmit = async (event) => {
    event.preventDefault();
    $("act-confirm").disabled = true;
    const problem = await act().catch(() => ({ detail: "there is no connection to the proxy" }));
    $("act-confirm").disabled = false;
    if (!problem) return dialog.close();
    set($("act-problem"), [problem.detail, problem.help].filter(Boolean).join(". "));
    $("act-problem").hidden = false;
    $("act-force-label").hidden = !problem.type?.endsWith(":last-ready");
  };
  dialog.showModal();
  (hasPolicy ? $("act-deadline") : $("act-confirm")).focus();
}

/** What the dialog says of how to drain. */
function policy() {
  const value = (id) => $(id).value.trim() || undefined;
  const pace = value("act-pace");
  return {
    deadline: value("act-deadline"),
    move_idle_after: value("act-idle"),
    moves_per_second: pace === undefined ? undefined : Number(pace),
  };
}

const path = (pool, backend, what) => `/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(backend)}/${what}`;

function askToDrain(pool, backend) {
  const sessions = backend.sessions === 0 ? "No session is bound to it." : backend.sessions === 1
    ? "1 session is bound to it and may stay until it ends."
    : `${number(backend.sessions)} sessions are bound to it and may stay until they end.`;
  open({
    title: `Drain ${pool}/${backend.name}?`,
    text: `New sessions go elsewhere at once. ${sessions}`,
    confirm: "Drain",
    hasPolicy: true,
    act: () => order(path(pool, backend.name, "drain"), { ...policy(), force: $("act-force").checked }),
  });
}

function askToRestore(pool, backend) {
  open({
    title: `Make ${pool}/${backend.name} ready?`,
    text: "It takes new sessions again. Sessions that have moved stay where they are.",
    confirm: "Restore",
    hasPolicy: false,
    act: () => order(path(pool, backend.name, "ready"), {}),
  });
}

follow();
