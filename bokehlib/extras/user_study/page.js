// The page itself: one tab keeps what the rater answered in the browser's storage, under the study's
// id; three views show it.

const KEY = `user-study/${study.id}`;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const SECONDS_A_RATING = 8;

const element = (id) => document.getElementById(id);

// --- Storage: one tab at a time may write ---

const TAB = randomWord(8);
const LOCK = `${KEY}/tab`;
const STALE = 4000; // ms after which a tab that has not spoken is gone
let storage = null;
let blocked = false;
let state = null;
let screens = [];

try {
  storage = window.localStorage;
  storage.setItem(`${KEY}/try`, "");
  storage.removeItem(`${KEY}/try`);
} catch {
  storage = null;
}

function otherTab() {
  const [tab, time] = (storage?.getItem(LOCK) ?? "").split(" ");
  return tab && tab !== TAB && Date.now() - Number(time) < STALE;
}

function claim() {
  storage?.setItem(LOCK, `${TAB} ${Date.now()}`);
}

function beat() {
  if (!storage) return;
  if (otherTab()) block();
  else if (blocked) takeOver();
  else claim();
}

function block() {
  if (blocked) return;
  blocked = true;
  element("main").inert = element("footer").inert = true;
  say("This study is open in another tab of this browser: go on there; nothing is lost.", takeOver);
}

function takeOver() {
  claim();
  blocked = false;
  element("main").inert = element("footer").inert = false;
  say("");
  restore();
}

function save() {
  // False if another tab has taken over: it holds what was kept so far.
  if (!storage) return true;
  if (otherTab()) {
    block();
    return false;
  }
  try {
    storage.setItem(KEY, JSON.stringify(state));
  } catch {
    say("This browser's storage is full: save what there is before you close this page.");
  }
  return true;
}

function restore() {
  state = null;
  const kept = storage?.getItem(KEY);
  if (kept) {
    try {
      state = JSON.parse(kept);
      screens = plan(state.seed, state.number);
    } catch {
      storage.setItem(`${KEY}/damaged/${Date.now()}`, kept);
      storage.removeItem(KEY);
      state = null;
      say("What this browser had kept could not be read and was set aside: please start again.");
    }
  }
  show();
}

// --- Views ---

function say(text, act) {
  const [words, button] = element("notice").children;
  element("notice").hidden = !text;
  words.textContent = text;
  button.hidden = !act;
  button.onclick = act ?? null;
}

function show() {
  const view = !state ? "start" : state.finished ? "end" : "rate";
  for (const id of ["start", "rate", "end"]) element(id).hidden = id !== view;
  element("footer").hidden = view !== "rate";
  element("title").hidden = element("progress").hidden = view === "start";
  const done = state ? (state.finished ? screens.length : state.at) : 0;
  element("progress").value = screens.length ? done / screens.length : 0;
  if (view === "rate") showScreen();
  else element("place").textContent = "";
  element(view).querySelector("h1").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function showScreen() {
  const screen = screens[state.at];
  const shown = study.cases[screen.case];
  const several = screen.aspects.length > 1;
  const letter = LETTERS[screen.place] ?? screen.place + 1;
  element("place").textContent = `Photo ${screen.turn + 1} of ${study.cases.length}, ` +
    `picture ${letter} (${screen.place + 1} of ${shown.results.length})`;
  element("reference").src = shown.reference;
  element("result").src = shown.results[screen.result].image;
  element("result").alt = element("name").textContent = `Picture ${letter}`;
  element("rate").classList.toggle("several", several);
  element("rate").style.setProperty("--rest", several ? "22.5rem" : "17rem");
  element("question").replaceChildren(
    ...(several ? [`Rate picture ${letter} in three ways, from 1 (worst) to 5 (best)`] : described(screen.aspects[0])));
  element("groups").replaceChildren(...screen.aspects.map((aspect) => scale(aspect, several)));
  element("back").disabled = state.at === 0;
  element("next").textContent = state.at === screens.length - 1 ? "Finish" : "Next";
  clock.start();
  showNext();
}

function described(aspect) {
  const title = document.createElement("b");
  title.textContent = aspect.title;
  return [title, `: ${aspect.words}`];
}

function scale(aspect, several) {
  const group = document.createElement("fieldset");
  const legend = document.createElement("legend");
  group.className = "scale";
  if (several) legend.append(...described(aspect));
  else legend.append("Your rating, from 1 (worst) to 5 (best)");
  const choices = [1, 2, 3, 4, 5].map((value) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: aspect.key, value, required: true });
    input.checked = state.answers[`${state.at}/${aspect.key}`]?.rating === value;
    input.addEventListener("change", () => rate(aspect.key, value));
    label.append(input, String(value));
    return label;
  });
  group.append(legend, ...choices);
  return group;
}

function showNext() {
  const missing = screens[state.at].aspects.some((a) => !state.answers[`${state.at}/${a.key}`]);
  element("next").setAttribute("aria-disabled", missing);
}

const clock = {
  // Seconds that the present screen has been looked at; a hidden tab does not count.
  before: 0,
  since: 0,
  start() { this.before = 0; this.since = performance.now(); },
  pause() { this.before = this.read(); this.since = null; },
  resume() { this.since = performance.now(); },
  read() {
    return this.before + (this.since === null ? 0 : (performance.now() - this.since) / 1000);
  },
};

// --- What a rater does ---

function begin(form) {
  const text = form.elements.number.value.trim();
  const number = text === "" ? null : Number(text);
  const session = randomWord(10);
  state = {
    session,
    rater: number === null ? session : `n${number}`,
    number,
    experience: form.elements.experience.value,
    seed: seedOf(number ?? session),
    at: 0,
    answers: {},
    finished: null,
  };
  screens = plan(state.seed, number);
  if (save()) show();
}

function rate(aspect, rating) {
  state.answers[`${state.at}/${aspect}`] = {
    rating,
    seconds: Math.round(10 * clock.read()) / 10,
    shown: Math.round(element("result").getBoundingClientRect().width * devicePixelRatio),
    time: new Date().toISOString(),
  };
  if (save()) showNext();
}

function go(step) {
  const to = state.at + step;
  if (to < 0) return;
  if (to === screens.length) state.finished = new Date().toISOString();
  else state.at = to;
  if (save()) show();
}

function forward() {
  if (element("next").getAttribute("aria-disabled") === "true") say("Please choose from 1 to 5 first.");
  else {
    say(storage ? "" : FORGETFUL);
    go(1);
  }
}

function press(event) {
  if (blocked || !state || state.finished || !element("shortcuts").checked) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const inside = document.activeElement?.closest("fieldset");
  if (/^[1-5]$/.test(event.key)) {
    const groups = [...document.querySelectorAll(".scale")];
    const open = groups.find((group) => !group.querySelector(":checked"));
    const group = open ?? (groups.includes(inside) ? inside : groups.at(-1));
    const input = group.querySelector(`[value="${event.key}"]`);
    input.focus();
    input.click();
  } else if (event.key === "Enter" && !document.activeElement.closest("button, #scales")) {
    forward(); // inside the form, Enter submits it by itself
  } else if (event.key === "Backspace") {
    go(-1);
  } else return;
  event.preventDefault();
}

// --- What is handed over ---

function download(kind) {
  const type = kind === "csv" ? "text/csv" : "application/json";
  const sheet = (kind === "csv" ? csv : json)(rows(state, screens));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([sheet], { type }));
  link.download = `${study.id}-${state.rater}.${kind}`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  const where = `Saved as ${link.download}, among your downloads.`;
  if (state.finished) element("saved").textContent = where;
  else say(where);
  element("another").hidden = false;
}

function nextPerson() {
  storage?.setItem(`${KEY}/done/${state.session}`, JSON.stringify(state)); // never thrown away
  storage?.removeItem(KEY);
  state = null;
  screens = [];
  element("person").reset();
  element("saved").textContent = "";
  element("another").hidden = true;
  show();
}

// --- Start ---

const FORGETFUL = "This browser keeps nothing: rate everything at once and save before you close this page.";

function prepare() {
  const screensInAll = study.cases.length * study.cases[0].results.length;
  const ratings = screensInAll * (study.form === "all" ? study.aspects.length : 1);
  element("task").textContent = study.form === "all"
    ? "Rate each picture in three ways:"
    : "For each photo you are asked to look at one of three things, drawn at random and named above the pictures:";
  element("amount").textContent = `${ratings} ratings`;
  element("minutes").textContent = `${Math.max(1, Math.round((ratings * SECONDS_A_RATING) / 60))} minutes`;
  element("aspects").append(...study.aspects.flatMap((aspect) => {
    const [term, words] = ["dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = aspect.title;
    words.textContent = aspect.words;
    return [term, words];
  }));
  const given = new URLSearchParams(location.search).get("rater") ?? "";
  if (/^\d{1,4}$/.test(given)) element("person").elements.number.value = given;
  const submit = (id, act) => element(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.target);
  });
  element("scales").noValidate = true;
  submit("person", begin);
  submit("scales", forward);
  element("back").addEventListener("click", () => go(-1));
  element("another").addEventListener("click", nextPerson);
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => download(button.dataset.save));
  document.addEventListener("keydown", press);
  document.addEventListener("visibilitychange", () => (document.hidden ? clock.pause() : clock.resume()));
}

prepare();
if (storage) {
  window.addEventListener("storage", (event) => event.key === LOCK && event.newValue && beat());
  window.addEventListener("pagehide", () =>
    storage.getItem(LOCK)?.startsWith(TAB) && storage.removeItem(LOCK));
  window.addEventListener("pageshow", (event) => event.persisted && beat());
  setInterval(beat, 1000);
  restore();
  beat(); // blocks this tab, or claims the study for it
} else {
  say(FORGETFUL);
  show();
}
